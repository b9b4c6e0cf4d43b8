"""What Ray's autoscaler would start for a fleet, by its own scheduler on the files as they are."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from ray.autoscaler._private.util import prepare_config
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.utils import ResourceRequestUtil
from ray.core.generated.autoscaler_pb2 import ClusterResourceConstraint

from app.config.load import load_config, preset_names
from app.planning.costs import training_bytes
from app.planning.plan import seed_size
from tests.support.cluster_files import RAY_FILES, load


def started(cluster: dict[str, Any], runs: int, available: dict[str, float]) -> Counter[str]:
    """Worker nodes of each type for so many experts of the paper; ``available``: 0 where a start has just failed."""
    config = AutoscalingConfig(prepare_config(cluster), skip_content_hash=True)
    training = load_config("paper-k8").training
    expert = {"CPU": training.cpus_per_expert, "GPU": training.gpus_per_expert}
    bundles = ResourceRequestUtil.group_by_count([ResourceRequestUtil.make(expert)] * runs)
    request = SchedulingRequest(
        disable_launch_config_check=True,
        node_type_configs=config.get_node_type_configs(),
        max_num_nodes=config.get_max_num_nodes(),
        cluster_resource_constraints=[ClusterResourceConstraint(resource_requests=bundles)],
        recoverable_resource_availabilities=available,
    )
    reply = ResourceDemandScheduler(None).schedule(request)
    return Counter({launch.instance_type: launch.count for launch in reply.to_launch if launch.instance_type != "head"})


@pytest.fixture(params=RAY_FILES)
def cluster(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Each file in turn."""
    return load(request.param)


def test_no_worker_is_started_for_nothing(cluster: dict[str, Any]) -> None:
    assert started(cluster, 0, {}) == Counter()


def test_each_expert_gets_a_spot_machine_of_its_own(cluster: dict[str, Any]) -> None:
    assert started(cluster, 8, {}) == Counter(gpu_spot=8)


def test_where_spot_has_just_failed_machines_on_demand_come_first(cluster: dict[str, Any]) -> None:
    assert started(cluster, 3, {"gpu_spot": 0.0}) == Counter(gpu_on_demand=3)


@pytest.mark.parametrize("available", [{}, {"gpu_spot": 0.0}], ids=["with spot", "spot failed"])
def test_every_expert_of_the_largest_preset_gets_a_machine_at_once(
    cluster: dict[str, Any], available: dict[str, float]
) -> None:
    largest = max(load_config(name).allocation.k for name in preset_names())
    nodes = started(cluster, largest, available)
    assert nodes.total() == largest <= cluster["max_workers"]
    assert nodes["gpu_on_demand"] <= cluster["available_node_types"]["gpu_on_demand"]["max_workers"]


GPU_OF = {"g6e.2xlarge": "L40S", "a2-highgpu-1g": "A100"}
"""By the clouds' own lists of machine types."""


def test_the_gpus_hold_what_training_the_papers_model_takes(cluster: dict[str, Any]) -> None:
    config = load_config("paper-k8")
    wanted = training_bytes(seed_size(config).parameters)
    nodes = [node["node_config"] for node in cluster["available_node_types"].values() if node["resources"].get("GPU")]
    machines = [node.get("InstanceType") or node["machineType"] for node in nodes]
    assert machines and all(wanted < 0.8e9 * config.planning.gpus[GPU_OF[name]].memory_gb for name in machines)
