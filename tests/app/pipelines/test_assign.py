from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from app.allocation.base import Allocator
from app.allocation.random_split import RandomAllocator
from app.allocation.storage import save_allocator
from app.allocation.terms import TokenAnalyzer
from app.allocation.tfidf import TfidfAllocator
from app.artifacts.layout import ALLOCATOR, ASSIGNMENT, HELD_OUT
from app.artifacts.store import StageFolder, Store
from app.core.errors import StaleArtifact
from app.core.records import IntArray
from app.pipelines.assign import read_columns, sum_assignment, write_held_out_part, write_training_part

TWO = ("expert-00", "expert-01")


def write(stage: StageFolder, name: str, **columns: Sequence[int]) -> None:
    """A part as tasks write it; a training document has as many tokens as its place says, from 1 on."""
    folder, lang, part = name.split("/")
    of, ids = (
        {column: np.array(found) for column, found in columns.items()},
        [str(row) for row in range(len(columns["expert"]))],
    )
    if folder == ASSIGNMENT:
        write_training_part(stage, lang, part, ids, of["expert"], 1 + np.arange(len(ids)), len(TWO))
    else:
        write_held_out_part(stage, lang, part, ids, of, len(TWO))


def assigned(store: Store, key: str, allocator: Allocator) -> StageFolder:
    """German on expert 1 in two parts, English on expert 0; the router finds German in 3 of 4 held-out documents."""
    stage = store.stage("allocation", key)
    save_allocator(allocator, stage.child(ALLOCATOR).write)
    write(stage, "documents/de/part-0.parquet", expert=[1, 1, 0])
    write(stage, "documents/de/part-1.parquet", expert=[1])
    write(stage, "documents/en/part-0.parquet", expert=[0, 0, 0, 0, 0, 0])
    write(stage, "held_out/de/part-0.parquet", expert=[1, 1, 0], expert_early=[0, 1, 0])
    write(stage, "held_out/de/part-1.parquet", expert=[1], expert_early=[0])
    write(stage, "held_out/en/part-0.parquet", expert=[0, 0], expert_early=[0, 0])
    return stage


def by_meaning() -> Allocator:
    return TfidfAllocator(TWO, TokenAnalyzer((3, 4)), np.eye(2), np.eye(2), np.array([0, 1]))


def test_counts_are_those_of_all_parts_and_low_agreement_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        counts = sum_assignment(assigned(Store(str(tmp_path)), "a", by_meaning()), ["de", "en"])
    assert counts["documents"] == {"de": [1, 3], "en": [6, 0]}
    assert counts["tokens"] == {"de": [3, 1 + 2 + 1], "en": [21, 0]}
    assert counts["documents_per_expert"] == [7, 3] and counts["max_over_mean"] == pytest.approx(1.4)
    assert counts["owner_agreement"] == {"de": 0.75, "en": 1.0}
    assert counts["owner_agreement_early"] == {"de": 0.25, "en": 1.0}
    assert len(caplog.messages) == 1 and "de 0.75 (its owner holds 0.75)" in caplog.messages[0]


def column_of(stage: StageFolder, folder: str, lang: str, column: str) -> IntArray:
    """The column of all parts."""
    return np.concatenate(list(read_columns(stage, folder, lang, column)))


def test_counts_are_to_the_bit_those_of_reading_every_document(tmp_path: Path) -> None:
    stage, random = assigned(Store(str(tmp_path)), "a", by_meaning()), np.random.default_rng(0)
    for lang, documents in (("de", 101), ("en", 37)):
        write(stage, f"documents/{lang}/part-2.parquet", expert=random.integers(2, size=documents))
        found = {column: random.integers(2, size=documents) for column in ("expert", "expert_early")}
        write(stage, f"held_out/{lang}/part-2.parquet", **found)
    counts = sum_assignment(stage, ["de", "en"])
    train = {lang: np.bincount(column_of(stage, ASSIGNMENT, lang, "expert"), minlength=2) for lang in ("de", "en")}
    assert counts["documents"] == {lang: held.tolist() for lang, held in train.items()}
    for name, column in (("owner_agreement", "expert"), ("owner_agreement_early", "expert_early")):
        near = {lang: column_of(stage, HELD_OUT, lang, column) for lang in train}
        assert counts[name] == {lang: float(np.mean(near[lang] == held.argmax())) for lang, held in train.items()}


def test_a_language_without_held_out_text_has_no_agreement(tmp_path: Path) -> None:
    stage = assigned(Store(str(tmp_path)), "a", by_meaning())
    write(stage, "documents/sw/part-0.parquet", expert=[0, 1])
    counts = sum_assignment(stage, ["en", "sw"])
    assert counts["documents"] == {"en": [6, 0], "sw": [1, 1]} and counts["owner_agreement"] == {"en": 1.0}


def test_no_document_is_read_for_the_counts(tmp_path: Path) -> None:
    stage = assigned(Store(str(tmp_path)), "a", by_meaning())
    for folder in (ASSIGNMENT, HELD_OUT):
        stage.remove(folder)
    assert sum_assignment(stage, ["de", "en"])["documents_per_expert"] == [7, 3]


def test_a_cut_by_chance_has_no_owner_to_find(tmp_path: Path) -> None:
    counts = sum_assignment(assigned(Store(str(tmp_path)), "a", RandomAllocator(TWO, 0)), ["de", "en"])
    assert "owner_agreement" not in counts


def test_uneven_parts_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stage = assigned(Store(str(tmp_path)), "a", RandomAllocator(TWO, 0))
    write(stage, "documents/en/part-1.parquet", expert=[0] * 6)
    with caplog.at_level(logging.WARNING):
        sum_assignment(stage, ["de", "en"])
    assert "parts are uneven, of [13  3] documents" in caplog.messages[0]


def test_the_tokens_of_each_expert_in_each_part_are_written_in_the_order_of_the_parts(tmp_path: Path) -> None:
    stage = assigned(Store(str(tmp_path)), "a", by_meaning())
    sum_assignment(stage, ["de", "en"])
    assert np.load(stage.local("part_tokens/de.npy")).tolist() == [[3, 0], [3, 1]]
    assert np.load(stage.local("part_tokens/en.npy")).tolist() == [[21], [0]]


def test_what_a_killed_writer_left_beside_the_sizes_is_not_counted(tmp_path: Path) -> None:
    stage = assigned(Store(str(tmp_path)), "a", by_meaning())
    expected = sum_assignment(stage, ["de", "en"])
    for name in ("sizes/documents/de/part-0.json", "sizes/held_out/en/part-0.json"):
        stage.write(f"{name}.0123.tmp", stage.read(name))
        stage.write(f"{name}.4567.tmp", stage.read(name)[:10])
    assert sum_assignment(stage, ["de", "en"]) == expected
    assert np.load(stage.local("part_tokens/de.npy")).shape == (2, 2)


def test_parts_of_a_cut_that_an_earlier_version_began_are_refused_with_the_cure(tmp_path: Path) -> None:
    stage = assigned(Store(str(tmp_path)), "a", by_meaning())
    stage.write_json("sizes/documents/de/part-1.json", {"expert": [0, 1]})
    with pytest.raises(StaleArtifact, match=r"begun by an earlier version; delete its folder and run"):
        sum_assignment(stage, ["de", "en"])
