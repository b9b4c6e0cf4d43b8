"""The KubeRay manifests, by schemas of ours and by the reader that Ray's autoscaler uses."""

from __future__ import annotations

import copy
import re
import shlex
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
from ray.autoscaler._private.util import validate_config
from ray.serve.schema import ServeDeploySchema

from serve.builder import ServingOptions
from tests.support.cluster_files import asked_for, configured, load, offers
from tests.support.manifests import KUBERAY
from tests.support.source import ROOT

SPEC = {"raycluster": (), "rayjob": ("rayClusterSpec",), "rayservice": ("rayClusterConfig",)}


def manifest(name: str) -> dict[str, Any]:
    """A manifest as data."""
    return load(f"deploy/kuberay/{name}.yaml")


def cluster_spec(name: str) -> dict[str, Any]:
    """The cluster that a manifest makes."""
    spec: dict[str, Any] = manifest(name)["spec"]
    for key in SPEC[name]:
        spec = spec[key]
    return spec


def as_autoscaler_sees(name: str) -> dict[str, Any]:
    """What Ray's autoscaler makes of the manifest inside the head's pod."""
    resource = {"metadata": {"name": "xelm", "namespace": "default"}, "spec": cluster_spec(name)}
    config: dict[str, Any] = _derive_autoscaling_config_from_ray_cr(resource)
    return config


@pytest.mark.parametrize("name", KUBERAY)
def test_a_manifest_has_only_published_fields(name: str) -> None:
    jsonschema.validate(manifest(name), KUBERAY[name])


@pytest.mark.parametrize("path", ["authOptions", "headGroupSpec", "workerGroupSpecs"])
@pytest.mark.parametrize("name", KUBERAY)
def test_the_schema_refuses_a_misspelt_field_at_every_depth(name: str, path: str) -> None:
    broken = copy.deepcopy(manifest(name))
    spec = broken["spec"]
    for key in SPEC[name]:
        spec = spec[key]
    place = spec[path][0] if isinstance(spec[path], list) else spec[path]
    place["maxReplica"] = 3
    with pytest.raises(jsonschema.ValidationError, match="maxReplica"):
        jsonschema.validate(broken, KUBERAY[name])


@pytest.mark.parametrize("image", ["xelm-ray", "xelm-ray:latest"])
def test_the_schema_refuses_an_image_that_is_not_pinned(image: str) -> None:
    broken = copy.deepcopy(manifest("raycluster"))
    broken["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["image"] = image
    with pytest.raises(jsonschema.ValidationError, match="does not match"):
        jsonschema.validate(broken, KUBERAY["raycluster"])


@pytest.mark.parametrize("name", KUBERAY)
def test_every_cluster_asks_for_a_token_and_stays_inside_kubernetes(name: str) -> None:
    spec = cluster_spec(name)
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["headGroupSpec"]["serviceType"] == "ClusterIP"


@pytest.mark.parametrize("name", KUBERAY)
def test_ray_reads_a_head_without_work_of_its_own_and_accepts_the_whole(name: str) -> None:
    seen = as_autoscaler_sees(name)
    validate_config(seen)
    assert seen["available_node_types"][seen["head_node_type"]]["resources"]["CPU"] == 0


@pytest.mark.parametrize("what", asked_for(), ids=str)
@pytest.mark.parametrize("name", ["raycluster", "rayjob"])
def test_some_group_offers_what_the_code_asks_for(name: str, what: dict[str, float]) -> None:
    assert offers(as_autoscaler_sees(name)["available_node_types"], what)


@pytest.mark.parametrize("name", ["raycluster", "rayjob"])
def test_workers_come_from_nothing_spot_first(name: str) -> None:
    kinds = as_autoscaler_sees(name)["available_node_types"]
    spot, on_demand = kinds["gpu-spot"], kinds["gpu-on-demand"]
    assert spot["min_workers"] == on_demand["min_workers"] == 0
    assert spot["resources"] == on_demand["resources"]
    assert spot["priority"] > on_demand.get("priority", 0)


@pytest.mark.parametrize("name", ["raycluster", "rayjob"])
def test_a_worker_that_is_to_end_drains_itself_within_its_time(name: str) -> None:
    for group in cluster_spec(name)["workerGroupSpecs"]:
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        shell, flag, script = container["lifecycle"]["preStop"]["exec"]["command"]
        command = re.fullmatch(r"python -m jobs\.watch_spot --leaving-in (\d+) && sleep (\d+)", script)
        assert (shell, flag) == ("sh", "-c") and command
        assert max(int(command[1]), int(command[2])) < pod["terminationGracePeriodSeconds"]


def test_the_run_trains_on_the_same_cluster_as_the_standing_one() -> None:
    assert cluster_spec("rayjob") == cluster_spec("raycluster")


def test_the_run_is_a_job_of_ours_with_a_configuration_that_holds() -> None:
    config = configured(shlex.split(manifest("rayjob")["spec"]["entrypoint"]))
    assert config.cluster.address == "auto" and config.artifacts.root.startswith("s3://")


def test_the_run_leaves_no_cluster_behind_and_begins_again_where_the_store_ends() -> None:
    spec = manifest("rayjob")["spec"]
    assert spec["shutdownAfterJobFinishes"] is True and spec["backoffLimit"] > 0


def test_the_service_is_one_that_ray_serve_and_our_application_accept_and_some_group_holds() -> None:
    config = ServeDeploySchema.model_validate(yaml.safe_load(manifest("rayservice")["spec"]["serveConfigV2"]))
    options = ServingOptions.model_validate(config.applications[0].args)
    wanted = {"CPU": options.cpus * options.replicas, "GPU": options.gpus * options.replicas}
    assert offers(as_autoscaler_sees("rayservice")["available_node_types"], wanted)


def test_every_replica_of_the_service_has_the_keys_that_open_it() -> None:
    spec = cluster_spec("rayservice")
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        (container,) = group["template"]["spec"]["containers"]
        assert [variable["name"] for variable in container["env"]] == ["XELM_API_KEYS"]


def test_image_and_manifests_name_the_pinned_ray() -> None:
    pinned = re.search(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.M)
    assert pinned
    base = re.search(r"^FROM rayproject/ray:([\d.]+)-", (ROOT / "deploy/kuberay/Dockerfile").read_text("utf-8"), re.M)
    assert base and {base[1], *(cluster_spec(name)["rayVersion"] for name in KUBERAY)} == {pinned[1]}
