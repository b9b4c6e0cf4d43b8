"""The SkyPilot task, by a schema of ours and by what the code asks for."""

from __future__ import annotations

import re
import shlex
import subprocess

import jsonschema
import pytest

from app.config.schema import Config
from jobs.failures import STATUSES
from tests.support.cluster_files import configured, load
from tests.support.manifests import SKYPILOT

TASK = load("deploy/skypilot.yaml")


def config() -> Config:
    """The configuration that the task's only command runs with, given a bucket."""
    return configured(shlex.split(TASK["run"].replace("$BUCKET", "bucket")))


def test_the_task_has_only_published_fields() -> None:
    jsonschema.validate(TASK, SKYPILOT)


def test_the_schema_refuses_a_misspelt_field() -> None:
    with pytest.raises(jsonschema.ValidationError, match="use_spots"):
        jsonschema.validate({**TASK, "resources": {**TASK["resources"], "use_spots": True}}, SKYPILOT)


def test_spot_and_on_demand_are_both_allowed_and_no_port_is_opened() -> None:
    assert [choice["use_spot"] for choice in TASK["resources"]["any_of"]] == [True, False]
    assert "ports" not in TASK["resources"]


def test_a_run_that_was_stopped_politely_is_started_again() -> None:
    (stopped,) = {status for error, status in STATUSES.items() if error.__name__ == "Preempted"}
    assert TASK["resources"]["job_recovery"]["recover_on_exit_codes"] == [stopped]


def test_the_machine_holds_an_expert_and_the_store_outlives_it() -> None:
    training = config().training
    assert float(TASK["resources"]["cpus"].rstrip("+")) >= training.cpus_per_expert
    assert all(int(kind.split(":")[1]) >= training.gpus_per_expert for kind in TASK["resources"]["accelerators"])
    assert config().artifacts.root == "s3://bucket/xelm" and TASK["envs"] == {"BUCKET": None}


@pytest.mark.parametrize("part", ["setup", "run"])
def test_the_lines_are_sentences_of_the_shell(part: str) -> None:
    assert subprocess.run(["bash", "-n", "-c", TASK[part]], capture_output=True, check=False).returncode == 0


def test_the_bucket_client_is_that_of_the_cluster_file() -> None:
    wanted = re.findall(r"s3fs==\S+", "\n".join(load("cluster.yaml")["setup_commands"]))
    assert wanted and re.findall(r"s3fs==\S+", TASK["setup"]) == wanted
