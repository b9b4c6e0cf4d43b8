from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.artifacts.store import Store
from app.config.load import load_config
from app.config.schema import ClusterConfig, Config
from app.fleet.ray_session import ray_session
from app.pipelines.everything import run_everything
from benchmarks.stages import UNTIL_EXPERTS, make
from tests.support import fleets
from tests.support.tiny import TINY


def tiny_config(root: Path, *more: str) -> Config:
    return load_config("demo", overrides=[*TINY, f"artifacts.root={root}", *more])


@pytest.fixture(scope="session")
def ray_running() -> Iterator[None]:
    with ray_session(ClusterConfig(cpus=2)):
        yield


@pytest.fixture(scope="session")
def tiny_run(ray_running: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Store]:
    """A finished typological run, made once for all tests of the session."""
    assert ray_running is None
    root = tmp_path_factory.mktemp("tiny")
    config, store = tiny_config(root), Store(str(root))
    run_everything(config, store)
    return config, store


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose experts have trained for seconds."""
    root = tmp_path_factory.mktemp("undisturbed")
    make([*TINY, *fleets.LONG, f"artifacts.root={root}"], UNTIL_EXPERTS)
    return root


@pytest.fixture
def prepared(undisturbed: Path, tmp_path: Path) -> Path:
    """The undisturbed run without its experts."""
    return fleets.without_experts(undisturbed, tmp_path / "disturbed")
