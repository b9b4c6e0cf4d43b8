from __future__ import annotations

from pathlib import Path

from app.artifacts.copies import drop_stale, name_of_root


def test_copies_stay_while_their_stage_is_the_same_and_go_when_it_was_made_anew(tmp_path: Path) -> None:
    copies = tmp_path / "model/k"
    drop_stale(copies, b"one")
    (copies / "weights").write_bytes(b"w")
    drop_stale(copies, b"one")
    assert (copies / "weights").exists()
    drop_stale(copies, b"two")
    assert not (copies / "weights").exists()
    (copies / "weights").write_bytes(b"v")
    drop_stale(copies, b"two")
    assert (copies / "weights").read_bytes() == b"v" and [p.name for p in copies.parent.iterdir()] == ["k"]


def test_copies_that_another_process_has_begun_before_its_mark_are_not_removed(tmp_path: Path) -> None:
    (tmp_path / "weights.part").write_bytes(b"w")
    drop_stale(tmp_path, b"one")
    assert (tmp_path / "weights.part").exists()


def test_stores_have_folders_of_their_own() -> None:
    roots = ("s3://a/x", "s3://b/x", "memory://x")
    assert len({name_of_root(root) for root in roots}) == 3 and name_of_root(roots[0]) == name_of_root("s3://a/x")
