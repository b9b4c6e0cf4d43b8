from __future__ import annotations

from pathlib import Path

import pytest

from app.artifacts.store import Store
from app.config.load import load_config
from app.core.errors import NotReady
from app.doctor import preflight
from app.doctor.preflight import ready


def _try(root: str, *overrides: str) -> None:
    config = load_config("demo", overrides=[f"artifacts.root={root}", "cluster.cpus=2", *overrides])
    with ready(config, Store(config.artifacts.root)):
        pass


def test_a_machine_that_can_do_it_is_let_through_and_nothing_is_left(tmp_path: Path) -> None:
    _try(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_all_that_is_wrong_is_said_at_once_without_starting_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "ray_session", lambda _cluster: pytest.fail("Ray was started"))
    monkeypatch.setattr(preflight.torch.cuda, "device_count", lambda: 0)
    with pytest.raises(NotReady) as raised:
        _try("/proc/nowhere", "training.gpus_per_expert=1", "allocation.k=17")
    said = str(raised.value)
    assert "3 things stand in the way" in said and "k is 17" in said and "/proc/nowhere refuses to write" in said
    assert "an expert (1 CPU, 1 GPU) fits no node" in said


def test_cores_that_a_local_ray_will_not_have_are_missing_too(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match=r"the seed \(8 CPU\) fits no node"):
        _try(str(tmp_path), "seed.source=trained", "seed.cpus=8")
