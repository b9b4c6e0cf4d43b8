"""The cluster file, by Ray's own validator and by what we promise of it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from app.config.load import load_config
from tests.support.source import ROOT


@pytest.fixture(name="cluster")
def _cluster() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "cluster.yaml").read_text(encoding="utf-8"))
    return loaded


def test_ray_accepts_it(cluster: dict[str, Any]) -> None:
    validate_config(prepare_config(cluster))


def test_every_start_command_asks_for_a_token_and_the_dashboard_stays_on_loopback(cluster: dict[str, Any]) -> None:
    commands = cluster["head_start_ray_commands"] + cluster["worker_start_ray_commands"]
    assert all("RAY_AUTH_MODE=token" in command for command in commands)
    assert any("--dashboard-host=127.0.0.1" in command for command in commands)
    assert any("auth_token" in target for target in cluster["file_mounts"])


@pytest.mark.parametrize("preset", ["paper-k4", "paper-k8", "paper-k16", "small"])
def test_some_node_type_offers_what_an_expert_asks_for(cluster: dict[str, Any], preset: str) -> None:
    training = load_config(preset).training
    offers = [kind["resources"] for kind in cluster["available_node_types"].values()]
    assert any(
        offer.get("CPU", 0) >= training.cpus_per_expert and offer.get("GPU", 0) >= training.gpus_per_expert
        for offer in offers
    )
