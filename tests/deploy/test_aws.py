"""cluster.yaml brought up and down against a cloud emulator, where nothing can leave the machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import Any

import pytest

from tests.support.moto_cloud import FOUND
from tests.support.needs import need, need_program
from tests.support.source import ROOT

pytestmark = [pytest.mark.rare, pytest.mark.timeout(600)]

EMULATOR = ROOT / ".local/emulator/bin/python"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the emulator saw; see tests/support/moto_cloud.py."""
    unshare = need_program("unshare", "util-linux")
    need_program("ip", "iproute2")
    need("root, for a network namespace", os.geteuid() == 0, "run as root")
    need("the cloud emulator", EMULATOR.exists(), "make emulator")
    project = tmp_path_factory.mktemp("project")
    shutil.copy(ROOT / "cluster.yaml", project)
    shutil.copytree(ROOT / "deploy/aws", project / "deploy/aws")
    (project / ".local/cluster").mkdir(parents=True)
    (project / ".local/cluster/pyproject.toml").write_text("", encoding="utf-8")
    command = [unshare, "-n", str(EMULATOR), "-m", "tests.support.moto_cloud", str(project)]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, Any] = json.loads((project / FOUND).read_text(encoding="utf-8"))
    return found


def test_nothing_could_leave_the_machine(cloud: dict[str, Any]) -> None:
    assert cloud["interfaces"] == ["lo"] and cloud["can_leave"] is False


def test_the_cluster_comes_up_with_one_head_on_demand(cloud: dict[str, Any]) -> None:
    assert cloud["up"]["code"] == 0, cloud["up"]["said"]
    (head,) = cloud["head"]
    assert head["InstanceType"] == "m5.2xlarge" and "InstanceLifecycle" not in head


def test_head_and_workers_have_each_their_own_profile_and_imds_v2(cloud: dict[str, Any]) -> None:
    nodes = {"xelm-head": cloud["head"], "xelm-worker": cloud["workers"].values()}
    for profile, instances in nodes.items():
        for instance in instances:
            assert instance["IamInstanceProfile"]["Arn"].endswith(f"instance-profile/{profile}")
            assert instance["MetadataOptions"]["HttpTokens"] == "required"
            assert instance["ImageId"] == "resolve:ssm:/xelm/image:1"


def test_spot_workers_are_spot_and_the_others_are_not(cloud: dict[str, Any]) -> None:
    workers = cloud["workers"]
    assert workers["gpu_spot"]["InstanceLifecycle"] == "spot"
    assert "InstanceLifecycle" not in workers["gpu_on_demand"]
    assert {worker["InstanceType"] for worker in workers.values()} == {"g6e.2xlarge"}


def test_ray_opens_no_port_beside_those_of_the_reader(cloud: dict[str, Any]) -> None:
    assert cloud["rules"]["made"] and cloud["rules"]["after"] == cloud["rules"]["made"]
    groups = [node["SecurityGroups"] for node in (*cloud["head"], *cloud["workers"].values())]
    assert [[group["GroupName"] for group in of_node] for of_node in groups] == [["xelm"]] * 3


def test_the_head_is_given_project_and_token_then_set_up_then_started_with_a_token(cloud: dict[str, Any]) -> None:
    asked = cloud["asked"]
    order = ["~/xelm/", "~/.ray/auth_token", "-m venv ~/venv", "pip install -q s3fs", "ray start --head"]
    places = [next(i for i, line in enumerate(asked) if what in line) for what in order]
    assert places == sorted(places)
    start = asked[places[-1]]
    assert "RAY_AUTH_MODE=token" in start and "--dashboard-host=127.0.0.1" in start and "--num-cpus=0" in start


def test_nothing_is_left_running(cloud: dict[str, Any]) -> None:
    assert cloud["down"]["code"] == 0, cloud["down"]["said"]
    assert set(cloud["left"]) == {"terminated"} and len(cloud["left"]) == 3
