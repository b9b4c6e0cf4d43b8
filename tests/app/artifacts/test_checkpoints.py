from __future__ import annotations

import logging
from pathlib import Path

import pytest

from app.artifacts.checkpoints import ModelCheckpoints
from app.artifacts.store import Store
from app.core.errors import CorruptArtifact, LeaseLost


def _checkpoints(tmp_path: Path, keep: int = 2) -> ModelCheckpoints:
    made = ModelCheckpoints(Store(str(tmp_path)).stage("model", "m"), keep)
    made.claim()
    return made


def _save(checkpoints: ModelCheckpoints, step: int) -> None:
    checkpoints.save(step, lambda folder: (folder / "state").write_text(f"at {step}") and None)


def test_the_newest_is_found_and_only_the_last_n_are_kept(tmp_path: Path) -> None:
    checkpoints = _checkpoints(tmp_path)
    assert checkpoints.latest() is None
    for step in (10, 20, 30):
        _save(checkpoints, step)
    latest = checkpoints.latest()
    assert checkpoints.steps() == [20, 30]
    assert latest is not None and (latest / "state").read_text() == "at 30"


@pytest.mark.parametrize("damage", ["truncate", "flip", "delete", "manifest"])
def test_a_torn_checkpoint_is_skipped_with_a_warning_that_names_it(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = _checkpoints(tmp_path)
    for step in (10, 20):
        _save(checkpoints, step)
    newest = checkpoints.stage.local("step-00000020")
    match damage:
        case "truncate":
            (newest / "state").write_text("at")
        case "flip":
            (newest / "state").write_text("at 21")
        case "delete":
            (newest / "state").unlink()
        case "manifest":
            (newest / "manifest.json").write_text("{")
    with caplog.at_level(logging.WARNING):
        latest = checkpoints.latest()
    assert latest is not None and latest.name == "step-00000010"
    assert "step-00000020" in caplog.text


def test_when_every_checkpoint_is_torn_training_does_not_start_over_silently(tmp_path: Path) -> None:
    checkpoints = _checkpoints(tmp_path)
    _save(checkpoints, 10)
    (checkpoints.stage.local("step-00000010") / "state").unlink()
    with pytest.raises(CorruptArtifact, match="steps 10"):
        checkpoints.latest()


def test_an_orphaned_writer_cannot_commit_after_another_attempt_took_over(tmp_path: Path) -> None:
    orphan, successor = _checkpoints(tmp_path), _checkpoints(tmp_path)
    with pytest.raises(LeaseLost, match="another attempt"):
        _save(orphan, 40)
    _save(successor, 10)
    assert successor.steps() == [10]


def test_clear_removes_all_checkpoints(tmp_path: Path) -> None:
    checkpoints = _checkpoints(tmp_path)
    _save(checkpoints, 10)
    checkpoints.clear()
    assert checkpoints.steps() == []


@pytest.fixture
def remote(tmp_path: Path) -> ModelCheckpoints:
    made = ModelCheckpoints(Store(f"memory://{tmp_path}", str(tmp_path / "cache")).stage("model", "m"), 2)
    made.claim()
    return made


def test_a_half_uploaded_checkpoint_is_found_once_it_was_saved_again(remote: ModelCheckpoints) -> None:
    for step in (10, 20):
        _save(remote, step)
    remote.stage.remove("step-00000020/manifest.json")
    half = remote.latest()
    assert half is not None and half.name == "step-00000010"
    _save(remote, 20)
    latest = remote.latest()
    assert latest is not None and latest.name == "step-00000020"


def test_a_copy_of_a_remote_checkpoint_goes_with_the_next_save(remote: ModelCheckpoints) -> None:
    _save(remote, 10)
    copy = remote.latest()
    assert copy is not None and (copy / "state").read_text() == "at 10"
    _save(remote, 20)
    assert not copy.exists() and remote.steps() == [10, 20]


@pytest.mark.parametrize(("keep", "left"), [(1, [53]), (2, [50, 53])])
def test_a_save_after_a_torn_newer_one_stays_and_the_torn_one_goes(
    remote: ModelCheckpoints, keep: int, left: list[int]
) -> None:
    remote.keep = keep
    for step in (50, 60):
        # Kept by more: a kill in the middle of an upload leaves the one before it, whatever ``keep`` is.
        _save(ModelCheckpoints(remote.stage, 3, remote.attempt), step)
    remote.stage.remove("step-00000060/manifest.json")
    resumed = remote.latest()
    assert resumed is not None and resumed.name == "step-00000050"
    _save(remote, 53)
    latest = remote.latest()
    assert latest is not None and latest.name == "step-00000053"
    assert remote.steps() == left
