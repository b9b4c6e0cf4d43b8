"""The cluster rehearsal: `ray up` on hosts of namespaces, jobs, a host cut off, the same weights, `ray down`."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from ray.autoscaler._private.util import prepare_config, validate_config

from benchmarks.hosts import missing
from benchmarks.laptop import HEAD, WORKERS, local_cluster
from tests.support.cluster_files import load
from tests.support.needs import need
from tests.support.source import ROOT

ADDRESSES = {HEAD: "10.77.0.1", WORKERS[0]: "10.77.0.2", WORKERS[1]: "10.77.0.3"}


def test_what_is_rehearsed_is_cluster_yaml_but_for_the_machines() -> None:
    ours = load("cluster.yaml")
    theirs = local_cluster(ours, ADDRESSES, "key")
    validate_config(prepare_config(theirs))
    assert theirs["file_mounts"] == ours["file_mounts"] and theirs["setup_commands"][-1] == ours["setup_commands"][-1]
    added = f"--object-store-memory={100 << 20} "
    for kind, more in (("head", added), ("worker", f"{added}--num-cpus=1 ")):
        given = [command.replace(more, "") for command in theirs[f"{kind}_start_ray_commands"]]
        assert given == [c for c in ours[f"{kind}_start_ray_commands"] if "jobs.watch_spot" not in c]


@pytest.mark.rare
@pytest.mark.timeout(900)
def test_a_run_survives_the_loss_of_a_machine_and_a_stop_with_the_weights_of_an_undisturbed_one() -> None:
    need("a machine that can be several hosts", not missing(), missing())
    command = [sys.executable, "-m", "benchmarks.ray_up", "--format", "json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr[-6000:]
    record = json.loads(done.stdout)
    assert [name for name, holds in record["checks"].items() if not holds] == [], done.stderr[-6000:]
    assert record["as_it_should_be"] is True and record["experts_finished"] == record["experts"] == 4
