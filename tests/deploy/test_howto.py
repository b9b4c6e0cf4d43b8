"""The how-to on clusters speaks of what is there. (It cannot be followed here: it needs accounts.)"""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from app.artifacts.store import Store
from app.config.load import load_config
from app.planning.plan import make_plan
from tests.support.cluster_files import configured, load
from tests.support.source import ROOT

PAGE = (ROOT / "docs/howto/run-on-a-cluster.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.M | re.S)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_every_block_is_a_sentence_of_the_shell(block: str) -> None:
    checked = subprocess.run(["bash", "-n", "-c", block], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_every_file_it_names_exists() -> None:
    named = set(re.findall(r"(?:deploy/[\w/.-]+\w|cluster\.yaml|constraints\.txt)", PAGE.replace("$role", "xelm-head")))
    manifests = {f"deploy/kuberay/{name}.yaml" for name in re.findall(r"^manifest (\w+)", PAGE, re.M)}
    missing = [name for name in named | manifests if "$" not in name and not (ROOT / name.rstrip("/")).exists()]
    assert manifests and missing == []


def test_the_cost_table_is_what_the_job_prints(tmp_path: Path) -> None:
    (printed,) = re.findall(r"^```text\n(.*?)^```$", PAGE, re.M | re.S)
    assert printed.rstrip("\n") == make_plan(load_config("paper-k8"), Store(str(tmp_path)))["text"]


def test_it_makes_what_the_files_ask_for() -> None:
    head = load("cluster.yaml")["available_node_types"]["head"]["node_config"]
    disk = load("deploy/gcp.yaml")["available_node_types"]["head"]["node_config"]["disks"][0]
    parameter = head["ImageId"].removeprefix("resolve:ssm:").rpartition(":")[0]
    image = disk["initializeParams"]["sourceImage"].rpartition("/")[2]
    group = load("cluster.yaml")["provider"]["security_group"]["GroupName"]
    for made in (f"--name {parameter} ", f"images create {image} ", f"--group-name {group} "):
        assert made in PAGE


def test_the_run_it_submits_has_a_configuration_that_holds() -> None:
    (command,) = re.findall(r"-- \\\n\s+(python -m jobs\.all .*)", PAGE)
    config = configured(shlex.split(command.replace("$BUCKET", "bucket")))
    assert config.cluster.address == "auto" and config.artifacts.root == "s3://bucket/xelm"


@pytest.mark.parametrize("name", ["rayjob", "rayservice"])
def test_the_manifests_have_the_places_it_fills_in(name: str) -> None:
    manifest = (ROOT / f"deploy/kuberay/{name}.yaml").read_text(encoding="utf-8")
    assert [place for place in ("BUCKET", "image: xelm-ray:0.1.0") if place not in manifest or place not in PAGE] == []
