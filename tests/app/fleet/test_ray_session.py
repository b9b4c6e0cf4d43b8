from __future__ import annotations

import os
from pathlib import Path

import pytest
import ray

from app.fleet.ray_session import _ensure_token


@pytest.fixture(autouse=True)
def without_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)


def test_a_token_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    _ensure_token()
    file = tmp_path / ".ray/auth_token"
    made = file.read_text()
    assert len(bytes.fromhex(made)) == 32
    assert file.stat().st_mode & 0o777 == 0o600 and file.parent.stat().st_mode & 0o777 == 0o700
    _ensure_token()
    assert file.read_text() == made


@pytest.mark.parametrize("name", ["RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"])
def test_a_token_that_is_given_is_taken(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "given")
    _ensure_token()
    assert not (tmp_path / ".ray").exists()


@pytest.mark.ray
def test_a_ray_that_is_started_here_asks_for_a_token(ray_running: None) -> None:
    assert ray_running is None
    modes = ray.get(ray.remote(num_cpus=0)(lambda: os.environ["RAY_AUTH_MODE"]).remote())
    assert modes == "token"
