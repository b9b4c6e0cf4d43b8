from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.train import ControllerError
from ray.util import placement_group_table

from app.artifacts.store import Store
from app.config.load import load_config
from app.fleet.machines import ray_machines
from app.fleet.ray_session import ray_session

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


class LostWhileItArrives:
    """A worker's work that ends its process when it is unpickled there, as a machine that is lost then."""

    def __reduce__(self) -> tuple[Callable[[int], Any], tuple[int]]:
        return os._exit, (1,)

    def __call__(self, assignment: object) -> dict[str, Any]:
        raise AssertionError


def test_a_worker_lost_before_it_has_its_work_leaves_no_place_taken(tmp_path: Path) -> None:
    config, store = load_config("demo"), Store(str(tmp_path))
    task: Any = SimpleNamespace(key="lost", store=store)
    with (
        ray_session(config.cluster),
        ray_machines(config, store.run("r"), work=LostWhileItArrives()) as machines,
    ):
        with pytest.raises(ControllerError, match=r"died unexpectedly|unavailable"):
            machines.start(task).result()
        states = [group["state"] for group in placement_group_table().values()]
    assert states == ["REMOVED"]
