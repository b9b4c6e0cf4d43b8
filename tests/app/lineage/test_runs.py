from __future__ import annotations

from pathlib import Path

import yaml

from app.artifacts.store import Store
from app.config.load import load_config
from app.lineage.lineage import Lineage
from app.lineage.runs import record, recorded, unlike_the_run


def lineage_of(root: Path) -> Lineage:
    return Lineage(load_config("demo", overrides=[f"artifacts.root={root}", "run.name=one"]), Store(str(root)))


def test_what_is_made_is_entered_beside_what_earlier_jobs_have_made(tmp_path: Path) -> None:
    lineage = lineage_of(tmp_path)
    record(lineage, {"shards": lineage.store.stage("shards", "s1")})
    record(lineage, {"tokens": lineage.store.stage("tokens", "t1")})
    assert lineage.run.read_json("run.json") == {
        "shards": {"stage": "shards", "key": "s1"},
        "tokens": {"stage": "tokens", "key": "t1"},
    }
    assert yaml.safe_load(lineage.run.read("config.yaml"))["run"]["name"] == "one"


def test_a_job_that_makes_no_stage_writes_nothing_that_a_job_beside_it_may_write(tmp_path: Path) -> None:
    lineage = lineage_of(tmp_path)
    assert recorded(lambda _lineage: {})(lineage.config, lineage.store) == {"made": {}}
    assert lineage.run.names() == []


def test_settings_that_differ_from_the_runs_are_told_and_its_languages_are_not_among_them(tmp_path: Path) -> None:
    lineage = lineage_of(tmp_path)
    other = ["training.budget_tokens=5", "corpus.languages=de,en", "evaluation.temperature=0.3"]
    config = load_config("demo", overrides=[f"artifacts.root={tmp_path}", "run.name=one", *other])
    assert unlike_the_run(config, lineage.run) == [], "there is nothing to compare with"
    record(lineage, {"shards": lineage.store.stage("shards", "s1")})
    assert unlike_the_run(lineage.config, lineage.run) == []
    budget, temperature = lineage.config.training.budget_tokens, lineage.config.evaluation.temperature
    assert unlike_the_run(config, lineage.run) == [
        f"training.budget_tokens is 5, and the run was made with {budget}",
        f"evaluation.temperature is 0.3, and the run was made with {temperature}",
    ]
