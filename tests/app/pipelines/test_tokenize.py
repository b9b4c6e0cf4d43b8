from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.artifacts.store import Store
from app.config.load import load_config
from app.core.errors import CorpusError
from app.lineage.lineage import Lineage
from app.pipelines.seed import make_seed
from app.pipelines.shard import make_shards

pytestmark = pytest.mark.ray


def test_a_language_with_less_than_a_row_stops_before_training_with_its_count(
    ray_running: None, tmp_path: Path
) -> None:
    assert ray_running is None
    for lang, words in (("de", 60), ("sw", 1)):
        rows = (json.dumps({"text": f"{number} {'zwölf ' * words}"}) + "\n" for number in range(20))
        (tmp_path / f"{lang}.jsonl").write_text("".join(rows))
    where = ("corpus.source=files", f"corpus.path={tmp_path}/*.jsonl", "corpus.languages=de,sw")
    more = ("corpus.validation_fraction=0.3", f"artifacts.root={tmp_path}", "training.sequence_length=512")
    lineage = Lineage(load_config("demo", overrides=[*where, *more]), Store(str(tmp_path)))
    make_shards(lineage)
    for _ in range(2):  # a finished stage is asked again: the length of a row is not in its key
        with pytest.raises(CorpusError, match=r"training text in sw \(\d+ tokens of 512\)\. .*sequence_length \(512\)"):
            make_seed(lineage)
    assert lineage.tokens.folder.is_complete and not any(tmp_path.glob("store/model/*"))
