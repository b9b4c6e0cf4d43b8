from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from app.allocation.storage import load_allocator
from app.artifacts.counts import AllocationCounts
from app.artifacts.layout import ALLOCATOR, SAMPLE
from app.artifacts.store import Store
from app.config.load import load_config
from app.config.schema import Config
from app.lineage.lineage import Lineage
from app.pipelines.allocate import make_allocation
from tests.support.tiny import TINY


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
    assert not stage.exists(SAMPLE)
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
