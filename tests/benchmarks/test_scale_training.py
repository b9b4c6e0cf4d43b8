from __future__ import annotations

from pathlib import Path

from app.artifacts.store import Store
from app.tokens.dataset import TokenCorpus
from benchmarks.scale_training import Sizes, write_parts


def test_needed_are_the_parts_of_the_languages_that_are_held(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    needed = write_parts(store, Sizes(parts=2, documents=3))
    stage = store.stage("tokens", "t")
    held = [path for lang in ("de", "fr") for path in Path(stage.local(lang)).rglob("part-*")]
    assert len(held) == 8 and needed == sum(path.stat().st_size for path in held)
    corpus = TokenCorpus.open(stage)
    assert corpus.counts.training_tokens() == {"de": 1800, "en": 1800, "fr": 1800}
    assert len(corpus.ids("de", "train", corpus.counts.parts("de", "train")[1])) == 900
