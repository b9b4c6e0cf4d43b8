from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.allocation.base import Allocator
from app.allocation.random_split import RandomAllocator
from app.allocation.storage import load_allocator, save_allocator
from app.allocation.terms import TokenAnalyzer
from app.allocation.tfidf import TfidfAllocator
from app.artifacts.counts import AllocationCounts
from app.artifacts.layout import ALLOCATOR
from app.artifacts.store import StageFolder, Store
from app.config.load import load_config
from app.config.schema import Config
from app.lineage.lineage import Lineage
from app.pipelines.allocate import assignment_counts, make_allocation
from tests.support.tiny import TINY

TWO = ("expert-00", "expert-01")


def write_table(stage: StageFolder, name: str, **columns: list[int]) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"doc_id": [str(i) for i in range(len(next(iter(columns.values()))))], **columns}), sink)
    stage.write(name, sink.getvalue().to_pybytes())


def assigned(store: Store, key: str, allocator: Allocator) -> StageFolder:
    """German on expert 1 in two parts, English on expert 0; the router finds German in 3 of 4 held-out documents."""
    stage = store.stage("allocation", key)
    save_allocator(allocator, stage.child(ALLOCATOR).write)
    write_table(stage, "documents/de/part-0.parquet", expert=[1, 1, 0])
    write_table(stage, "documents/de/part-1.parquet", expert=[1])
    write_table(stage, "documents/en/part-0.parquet", expert=[0, 0, 0, 0, 0, 0])
    write_table(stage, "held_out/de/part-0.parquet", expert=[1, 1, 0], expert_early=[0, 1, 0])
    write_table(stage, "held_out/de/part-1.parquet", expert=[1], expert_early=[0])
    write_table(stage, "held_out/en/part-0.parquet", expert=[0, 0], expert_early=[0, 0])
    return stage


def test_counts_are_those_of_all_parts_and_low_agreement_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    allocator = TfidfAllocator(TWO, TokenAnalyzer((3, 4)), np.eye(2), np.eye(2), np.array([0, 1]))
    with caplog.at_level(logging.WARNING):
        counts = assignment_counts(assigned(Store(str(tmp_path)), "a", allocator), ["de", "en"])
    assert counts["documents"] == {"de": [1, 3], "en": [6, 0]}
    assert counts["documents_per_expert"] == [7, 3] and counts["max_over_mean"] == pytest.approx(1.4)
    assert counts["owner_agreement"] == {"de": 0.75, "en": 1.0}
    assert counts["owner_agreement_early"] == {"de": 0.25, "en": 1.0}
    assert len(caplog.messages) == 1 and "de 0.75 (its owner holds 0.75)" in caplog.messages[0]


def test_a_cut_by_chance_has_no_owner_to_find(tmp_path: Path) -> None:
    counts = assignment_counts(assigned(Store(str(tmp_path)), "a", RandomAllocator(TWO, 0)), ["de", "en"])
    assert "owner_agreement" not in counts


def test_uneven_parts_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stage = assigned(Store(str(tmp_path)), "a", RandomAllocator(TWO, 0))
    write_table(stage, "documents/en/part-1.parquet", expert=[0] * 6)
    with caplog.at_level(logging.WARNING):
        assignment_counts(stage, ["de", "en"])
    assert "parts are uneven, of [13  3] documents" in caplog.messages[0]


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_documents_go_where_a_request_with_the_same_tokens_finds_its_nearest_expert(
    tiny_run: tuple[Config, Store], tmp_path: Path
) -> None:
    shutil.copytree(tiny_run[1].root, tmp_path / "copy")
    overrides = [*TINY, f"artifacts.root={tmp_path / 'copy'}", "allocation.strategy=tfidf", "run.name=cut"]
    lineage = Lineage(load_config("demo", overrides=overrides), Store(str(tmp_path / "copy")))
    stage = make_allocation(lineage)["allocation"]
    assert stage.manifest().parents == {"tokens": lineage.tokens.key}
    allocator, counts = load_allocator(stage.child(ALLOCATOR).read), stage.counts(AllocationCounts)
    corpus = lineage.token_corpus
    for lang in lineage.languages:
        nearest = []
        for split in ("train", "validation"):
            found = []
            for document in corpus.documents(lang, split):
                state = allocator.context(None)
                for token in document.ids.tolist():
                    state.extend("", [token])
                found.append(int(state.distances().argmin()))
            nearest.append(np.array(found))
        train, held_out = nearest
        held = np.bincount(train, minlength=2)
        assert counts.documents[lang] == tuple(held.tolist())
        assert counts.owner_agreement[lang] == pytest.approx(np.mean(held_out == held.argmax()))
