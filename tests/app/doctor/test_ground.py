from __future__ import annotations

from pathlib import Path

import pytest

from app.artifacts.layout import RUN
from app.artifacts.store import Store
from app.config.load import load_config
from app.doctor import ground
from app.doctor.checks import Check
from app.doctor.ground import ground_checks, interpreter_check
from app.doctor.preflight import foreseen


def checked(root: Path, *overrides: str) -> dict[str, Check]:
    config = load_config("demo", overrides=[f"artifacts.root={root}", *overrides])
    return {check.name: check for check in ground_checks(config, Store(config.artifacts.root))}


def test_more_experts_than_languages_is_found_before_anything_starts(tmp_path: Path) -> None:
    found = checked(tmp_path, "corpus.languages=de,en,sw", "allocation.k=4")["cut"]
    assert found.state == "failed" and "3 languages" in found.says
    assert checked(tmp_path, "corpus.languages=de,en,sw", "allocation.k=3")["cut"].state == "ok"


def test_a_job_that_needs_no_cut_may_run_with_any_k(tmp_path: Path) -> None:
    config = load_config("demo", overrides=[f"artifacts.root={tmp_path}", "corpus.languages=de,en", "allocation.k=4"])
    assert "cut" not in {check.name for check in ground_checks(config, Store(str(tmp_path)), cuts=False)}


def test_a_cut_of_documents_and_languages_that_are_not_named_are_left_to_the_corpus(tmp_path: Path) -> None:
    assert "cut" not in checked(tmp_path, "allocation.strategy=random", "allocation.k=40")
    assert "cut" not in checked(tmp_path, "corpus.languages=")


def test_an_interpreter_below_a_folder_with_a_space_is_refused() -> None:
    (found,) = interpreter_check("/data/my project/.venv/bin/python")
    assert found.state == "failed" and "spaces" in found.says
    assert list(interpreter_check("/data/project/.venv/bin/python")) == []


def test_a_home_that_cannot_be_written_is_refused_unless_a_token_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/proc/1")
    assert checked(tmp_path)["home"].state == "failed"
    assert "home" not in checked(tmp_path, "cluster.address=10.0.0.1:6379")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    assert "home" not in checked(tmp_path)


def test_a_home_with_a_token_already_need_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray/auth_token").write_text("secret")
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: (_ for _ in ()).throw(OSError(30, "read-only")))
    assert "home" not in checked(tmp_path)
    (tmp_path / ".ray/auth_token").unlink()
    assert checked(tmp_path)["home"].state == "failed"


def test_a_dry_run_of_a_job_that_needs_no_cut_has_no_problem_with_any_k(tmp_path: Path) -> None:
    config = load_config("demo", overrides=[f"artifacts.root={tmp_path}", "corpus.languages=de,en", "allocation.k=4"])
    store = Store(str(tmp_path))
    assert any("2 languages" in problem for problem in foreseen(config, store))
    assert foreseen(config, store, cuts=False) == []


def test_the_disk_must_hold_what_is_still_to_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ground, "free_bytes", lambda _root: 10_000_000)
    assert checked(tmp_path)["space"].state == "failed"
    models = [f"expert-{number:02d}" for number in range(4)]
    Store(str(tmp_path)).run("demo").write_json(RUN, {name: {} for name in ("tokens", "dense", *models)})
    assert checked(tmp_path)["space"].state == "ok"
