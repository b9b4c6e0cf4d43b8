from __future__ import annotations

import math
from pathlib import Path

import pytest

from app.artifacts.ensemble import EnsembleRecord, ExpertRecord, write_ensemble
from app.artifacts.store import Store
from app.config.load import load_config
from app.config.schema import Config
from app.core.errors import MissingArtifact
from app.core.records import JsonObject
from app.lineage.lineage import Lineage
from app.pipelines.cross_lingual import _rounds, cross_lingual_answers, make_cross_lingual


def test_a_run_that_is_not_evaluated_names_the_job(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match=r"jobs\.evaluate"):
        make_cross_lingual(load_config("demo"), Store(str(tmp_path)))


def test_rounds_are_read_from_all_reports_each_with_the_experts_that_it_added(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config, run = load_config("demo"), Store(str(tmp_path)).run("demo")
    assert "jobs.adapt" in str(_rounds(config, run))
    first = {"expert": "expert-00", "languages": ["tr"], "parent": "seed", "round": 0}
    az = {"expert": "expert-01", "languages": ["az"], "donor": "tr", "parent": "expert-00", "round": 1}
    sv = {"expert": "expert-02", "languages": ["sv"], "donor": "az", "parent": "expert-01", "round": 2}
    old: JsonObject = {"tr": {"seed": 8.0, "expert-00": 4.0, "expert-01": 2.0}}
    new: JsonObject = {"az": {"seed": 8.0, "expert-00": 16.0, "expert-01": 4.0}}
    keys: JsonObject = {"seed": "s", "expert-00": "k0", "expert-01": "k1"}
    report: JsonObject = {"family_tree": [first, az], "old": {"alone": old}, "new": {"alone": new}, "models": keys}
    run.write_json("adaptation/0002.json", report)
    later: JsonObject = {"sv": {"seed": 9.0, "expert-01": 9.0, "expert-02": 3.0}}
    again: JsonObject = {"tr": {"seed": 8.0, "expert-01": 2.0, "expert-02": 2.0}}
    report = {"family_tree": [first, {**az, "donor": "tr"}, sv], "old": {"alone": again}, "new": {"alone": later}}
    theirs: JsonObject = {"az": {"seed": 8.0, "expert-01": 4.0, "expert-02": 8.0}}
    run.write_json(
        "adaptation/0003.json", {**report, "earlier": {"alone": theirs}, "models": {**keys, "expert-02": "k2"}}
    )
    # A report of another ensemble, whose experts had the same names.
    other: JsonObject = {"tr": {"seed": 8.0, "expert-00": 99.0}, "de": {"expert-00": 99.0}}
    run.write_json("adaptation/0001.json", {**report, "old": {"alone": other}, "models": {"expert-00": "gone"}})
    experts = [ExpertRecord(f"expert-0{n}", f"k{n}", None, n, (), "") for n in range(3)]
    write_ensemble(run, EnsembleRecord("demo", tuple(experts), "a", "t", {"seed": "s"}))
    found = _rounds(config, run)
    assert isinstance(found, dict) and found["rounds"] == 2
    assert [line for line in caplog.messages if "is left out" in line] == [
        "cross_lingual: adaptation/0001.json is left out: it names none of this version's experts"
    ]
    rows = {row["expert"]: row for row in found["rows"]}  # type: ignore[union-attr,index,call-overload]
    assert set(rows) == {"expert-01", "expert-02"}
    two = math.log(2)
    assert rows["expert-01"]["own"] == pytest.approx(-2 * two) and rows["expert-01"]["donor"] == pytest.approx(-two)
    assert rows["expert-01"]["before"] == pytest.approx(two) and rows["expert-02"]["before"] == 0.0
    assert rows["expert-02"]["own"] == pytest.approx(-math.log(3))
    # Its donor is a language of an earlier round: 8 of this expert, 4 of its parent.
    assert rows["expert-02"]["donor"] == pytest.approx(two)
    assert rows["expert-02"]["relatives"] == 0.0 and rows["expert-02"]["related"] == ["tr"]


@pytest.mark.ray
@pytest.mark.timeout(600)
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
