"""The files for `ray up`, by Ray's own validator and by what we promise of them."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import pytest
from ray.autoscaler._private.util import prepare_config, validate_config

from benchmarks.raylets import HEALTH_CHECKS
from tests.support.cluster_files import RAY_FILES, asked_for, load, offers
from tests.support.source import ROOT

COMMANDS = ("setup_commands", "head_setup_commands", "head_start_ray_commands", "worker_start_ray_commands")


@pytest.fixture(params=RAY_FILES)
def cluster(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Each file in turn."""
    return load(request.param)


def test_ray_accepts_it_and_would_refuse_a_misspelt_key(cluster: dict[str, Any]) -> None:
    validate_config(prepare_config(cluster))
    with pytest.raises(Exception, match="idle_timeout_minuts"):
        validate_config(prepare_config({**cluster, "idle_timeout_minuts": 5}))


def test_every_ray_command_asks_for_a_token_that_every_node_has(cluster: dict[str, Any]) -> None:
    started = cluster["head_start_ray_commands"] + cluster["worker_start_ray_commands"]
    assert started and [command for command in started if "RAY_AUTH_MODE=token" not in command] == []
    assert cluster["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"


@pytest.mark.parametrize("file", [*RAY_FILES, "deploy/kuberay/Dockerfile"])
def test_a_stopped_job_has_time_to_save_and_a_lost_machine_is_missed_soon(file: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    assert re.findall(r"RAY_JOB_STOP_WAIT_TIME_S=(\d+)", text) == ["60"]
    assert {name: int(re.findall(rf"RAY_{name}=(\d+)", text)[0]) for name in HEALTH_CHECKS} == HEALTH_CHECKS
    unanswered = HEALTH_CHECKS["health_check_period_ms"] + HEALTH_CHECKS["health_check_timeout_ms"]
    assert unanswered * HEALTH_CHECKS["health_check_failure_threshold"] <= 20_000


def test_the_dashboard_stays_on_loopback_and_no_other_address_is_given(cluster: dict[str, Any]) -> None:
    commands = " ".join(cluster["head_start_ray_commands"] + cluster["worker_start_ray_commands"])
    assert re.findall(r"--[a-z-]*host=(\S+)", commands) == ["127.0.0.1"]


def test_the_head_offers_nothing_so_that_no_run_lands_on_the_machine_that_must_stay(cluster: dict[str, Any]) -> None:
    head = cluster["available_node_types"][cluster["head_node_type"]]
    assert head["resources"] == {"CPU": 0} and head["max_workers"] == 0
    assert any("--num-cpus=0" in command for command in cluster["head_start_ray_commands"])


def test_workers_come_from_nothing_spot_first_and_go_when_idle(cluster: dict[str, Any]) -> None:
    spot, on_demand = (cluster["available_node_types"][name] for name in ("gpu_spot", "gpu_on_demand"))
    assert spot["min_workers"] == on_demand["min_workers"] == 0
    assert spot["resources"] == on_demand["resources"]
    assert spot["priority"] > on_demand.get("priority", 0)
    assert cluster["idle_timeout_minutes"] <= 10


@pytest.mark.parametrize("what", asked_for(), ids=str)
def test_some_node_type_offers_what_the_code_asks_for(cluster: dict[str, Any], what: dict[str, float]) -> None:
    assert offers(cluster["available_node_types"], what)


def test_every_command_is_a_sentence_of_the_shell(cluster: dict[str, Any]) -> None:
    for command in (command for kind in COMMANDS for command in cluster[kind]):
        checked = subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, f"{command}\n{checked.stderr}"


def test_every_package_installed_without_constraints_is_pinned_beside_its_name(cluster: dict[str, Any]) -> None:
    free = [c for c in cluster["setup_commands"] if "pip install" in c and "-c constraints.txt" not in c]
    packages = [word for command in free for word in command.split("install", 1)[1].split() if word != "-q"]
    assert [package for package in packages if not re.fullmatch(r"[a-z0-9-]+==[0-9.]+", package)] == []
    assert cluster["head_setup_commands"] == []  # left out, Ray fills in an unpinned install of its own


def test_the_bucket_client_fits_the_pinned_fsspec() -> None:
    pinned = re.search(r"^fsspec==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.M)
    assert pinned and f"s3fs=={pinned[1]}" in " ".join(load("cluster.yaml")["setup_commands"])


def test_the_aws_nodes_have_imds_v2_a_profile_a_pinned_image_and_an_encrypted_disk() -> None:
    for name, kind in load("cluster.yaml")["available_node_types"].items():
        node = kind["node_config"]
        assert node["MetadataOptions"] == {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}, name
        assert node["IamInstanceProfile"] == {"Name": "xelm-head" if name == "head" else "xelm-worker"}
        assert re.fullmatch(r"resolve:ssm:/xelm/image:\d+", node["ImageId"])
        assert node["BlockDeviceMappings"][0]["Ebs"]["Encrypted"] is True
        assert ("InstanceMarketOptions" in node) == (name == "gpu_spot")


def test_the_gcp_nodes_have_a_pinned_image_and_only_spot_ones_are_spot() -> None:
    for name, kind in load("deploy/gcp.yaml")["available_node_types"].items():
        node = kind["node_config"]
        image = node["disks"][0]["initializeParams"]["sourceImage"]
        assert re.fullmatch(r"global/images/xelm-\d+", image), name
        assert (node.get("scheduling", {}).get("provisioningModel") == "SPOT") == (name == "gpu_spot")
        assert name == "head" or node["scheduling"]["onHostMaintenance"] == "TERMINATE"  # GPUs cannot be moved
