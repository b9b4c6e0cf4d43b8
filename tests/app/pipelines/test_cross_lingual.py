from __future__ import annotations

from pathlib import Path

import pytest

from app.artifacts.store import Store
from app.config.load import load_config
from app.config.schema import Config
from app.core.errors import MissingArtifact
from app.lineage.lineage import Lineage
from app.pipelines.cross_lingual import cross_lingual_answers, make_cross_lingual


def test_a_run_that_is_not_evaluated_names_the_job(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match=r"jobs\.evaluate"):
        make_cross_lingual(load_config("demo"), Store(str(tmp_path)))


@pytest.mark.ray
def test_a_killed_job_goes_on_with_what_is_not_written_and_answers_the_questions(
    tiny_run: tuple[Config, Store],
) -> None:
    config, store = tiny_run
    short = config.evaluation.model_copy(update={"confusion_texts": 2, "confusion_tokens": 8})
    config = config.model_copy(update={"evaluation": short})
    lineage = Lineage(config, store)
    summary = lineage.run.read_json("evaluation/summary.json")
    assert "confusion" in str(cross_lingual_answers(lineage, summary)["missing"])
    folder = lineage.confusion.folder
    begun = {"system": "dense", "lang": "de", "tokens": 8, "seconds": 99.0, "texts": [{"text": "Montag, den"}]}
    folder.write_json("written/dense/de.json", begun)  # type: ignore[arg-type]
    result = make_cross_lingual(config, store)
    assert folder.read_json("written/dense/de.json") == begun
    answers = lineage.run.read_json("evaluation/cross_lingual.json")
    assert answers == result["answers"]
    systems = answers["confusion"]["systems"]  # type: ignore[index,call-overload]
    assert set(systems) == {"held_out", "seed", "dense", "expert", "ensemble"}
    assert all(set(row) == {"de", "en", "hi", "ja"} for row in systems.values())
    assert systems["dense"]["de"]["lines_right"] == systems["dense"]["de"]["lines"] == 1
    pairs = {(row["lang"], row["expert"]) for row in answers["unseen"]["rows"]}  # type: ignore[index,call-overload]
    owned = {task.name: set(task.weights) for task in lineage.experts}
    assert pairs == {(lang, name) for name, langs in owned.items() for lang in {"de", "en", "hi", "ja"} - langs}
    costs = {row["name"]: row for row in answers["costs"]["systems"]}  # type: ignore[index,call-overload]
    assert costs["ensemble"]["memory"] == 2 * costs["expert"]["memory"] and costs["ensemble"]["writing"] > 0
    assert "In the language asked for" in str(result["text"])
