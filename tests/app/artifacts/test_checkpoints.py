from __future__ import annotations

import logging
import shutil
import tempfile
from pathlib import Path

import pytest

from app.artifacts.checkpoints import ModelCheckpoints
from app.artifacts.store import StageFolder, Store
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


def test_what_was_cut_short_before_its_commit_is_no_checkpoint_and_training_begins_anew(
    remote: ModelCheckpoints, caplog: pytest.LogCaptureFixture
) -> None:
    """A kill during the first upload to a remote storage, which takes files in any order."""
    stage = remote.stage
    stage.write("step-00000100/state", b"at 1")
    assert remote.steps() == [] and remote.latest() is None
    assert "step-00000100" in caplog.text and "not committed" in caplog.text
    _save(remote, 50)
    assert remote.steps() == [50] and not stage.exists("step-00000100")


def test_nothing_is_committed_by_one_who_lost_the_lease_while_it_was_uploading(
    remote: ModelCheckpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = StageFolder.upload

    def slow(stage: StageFolder, folder: Path, name: str) -> None:
        upload(stage, folder, name)
        ModelCheckpoints(stage, 2).claim()

    monkeypatch.setattr(StageFolder, "upload", slow)
    with pytest.raises(LeaseLost):
        _save(remote, 10)
    assert remote.steps() == []


def test_what_a_killed_attempt_left_on_this_machine_goes_when_the_next_one_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    checkpoints = _checkpoints(tmp_path)

    def killed(folder: Path) -> None:
        # As kill -9 leaves it: nothing is tidied.
        shutil.copytree(folder.parent, folder.parent.with_name(f"{folder.parent.name}-left"))

    checkpoints.save(1, killed)
    (tmp_path / "temporary" / "xelm-checkpoint-other-x").mkdir()
    assert len(list((tmp_path / "temporary").iterdir())) == 2
    checkpoints.claim()
    assert [left.name for left in (tmp_path / "temporary").iterdir()] == ["xelm-checkpoint-other-x"]
