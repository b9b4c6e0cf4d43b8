from __future__ import annotations

from pathlib import Path

from app.artifacts.store import Store
from app.pipelines.assign import sum_assignment
from app.tokens.dataset import TokenCorpus
from benchmarks.scale_driver import LANGUAGES, write_stages


def test_made_up_parts_are_counted_as_real_ones(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    write_stages(store, 6)
    corpus = TokenCorpus.open(store.stage("tokens", "t"))
    assert corpus.counts.documents("de", "train") == 200_000 and corpus.counts.tokens("sw", "train") == 5_000_000
    held = sum_assignment(store.stage("allocation", "a"), LANGUAGES)["documents"]
    assert isinstance(held, dict) and {lang: sum(row) for lang, row in held.items()} == {
        lang: corpus.counts.documents(lang, "train") for lang in LANGUAGES
    }
