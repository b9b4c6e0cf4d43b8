from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.artifacts.ensemble import EnsembleRecord, ExpertRecord, ensemble_versions, read_ensemble
from app.artifacts.store import Folder, Store
from app.config.load import load_config
from app.config.schema import Config
from app.core.errors import AllocationError, ConfigError, MissingArtifact, StaleArtifact
from app.lineage.lineage import Lineage
from app.pipelines import adapt
from app.pipelines.adapt import adapt_run
from app.pipelines.evaluate import make_evaluation
from app.pipelines.foresee import foresee_adaptation
from app.pipelines.report import make_report
from app.training.model_task import ModelTask
from benchmarks.processes import kill_family
from serve.loading import load_ensemble
from tests.support import fleets
from tests.support.tiny import TINY


def config_of(root: Path, *more: str) -> Config:
    return load_config("demo", overrides=[*TINY, f"artifacts.root={root}", *more])


def _disturb(config: Config, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The round begun three times: its process dies with one expert trained; somebody else makes a version meanwhile;
    it dies with its version written and not yet current.
    """
    run, train, write = store.run("tiny"), adapt.train_fleet, adapt.write_ensemble

    def dies(config: Config, tasks: Sequence[ModelTask]) -> None:
        train(config, tasks[:1])
        raise Killed

    def is_overtaken(config: Config, tasks: Sequence[ModelTask]) -> None:
        train(config, tasks)
        now = read_ensemble(run, "")
        write(run, replace(now, models={**now.models, "merged": now.models["dense"]}))

    def never_points(run: Folder, record: EnsembleRecord, grown_from: int) -> None:
        write(run, record, grown_from=grown_from)
        run.write_json("ensembles/current.json", {"version": grown_from})
        raise Killed

    for name, broken, error in (
        ("train_fleet", dies, Killed),
        ("train_fleet", is_overtaken, StaleArtifact),
        ("write_ensemble", never_points, Killed),
    ):
        with monkeypatch.context() as patch, pytest.raises(error):
            patch.setattr(adapt, name, broken)
            adapt_run(config, store)
    assert read_ensemble(run, "").version == 2 and ensemble_versions(run) == [1, 2, 3]


class Killed(Exception):
    """Stands for the end of the process."""


@pytest.mark.timeout(600)
def test_languages_join_leave_and_leave_everything_else_as_it_was(
    tiny_run: tuple[Config, Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_run[1].root, tmp_path / "root")
    store = Store(str(tmp_path / "root"))
    run = store.run("tiny")
    models = tmp_path / "root/store/model"
    before = {file: file.read_bytes() for file in models.glob("*/final/model.safetensors")}
    first = read_ensemble(run, "")
    config = config_of(
        tmp_path / "root",
        "adaptation.languages=sv,pl",
        "adaptation.in_turn=true",
        "adaptation.budget_tokens=9000",
        "adaptation.lapt=false",
    )
    _disturb(config, store, monkeypatch)
    foreseen: Any = foresee_adaptation(config, store)
    made: Any = adapt_run(config, store)
    assert foreseen["rankings"] == made["rankings"] and not foreseen["not_computed"], "what was measured stays"
    ranked = made["rankings"]
    assert list(ranked) == ["typology", "perplexity", "representation"]
    assert all(sorted(lang for lang, _ in found["sv"]) == ["de", "en", "hi", "ja"] for found in ranked.values())
    assert all(0 < value < 2 for _, value in ranked["representation"]["sv"])
    assert all(value > 1 for _, value in ranked["perplexity"]["sv"])
    assert made["version"] == 3 and made["donors"] == {"sv": "en", "pl": "de"}
    assert sorted(run.names("adaptation")) == ["0003.json"]
    grown = read_ensemble(run, "")
    assert grown.models["merged"] and grown.version == 3
    assert grown.experts[:2] == first.experts and [expert.round for expert in grown.experts] == [0, 0, 1, 2]
    parents = {expert.name: expert.parent for expert in grown.experts}
    of_english = next(expert for expert in first.experts if "en" in expert.languages)
    assert parents["expert-02"] == of_english.model
    assert {file: file.read_bytes() for file in before} == before
    old, told = made["report"]["old"]["per_language"], made["report"]["old"]["systems"]["after_told"]
    assert made["report"]["unchanged"] and told["against"]["before_told"]["mean_log_perplexity_ratio"] == 0.0
    assert set(old) == {"de", "en", "hi", "ja"} and set(made["report"]["new"]["per_language"]) == {"pl", "sv"}
    new = made["report"]["new"]["systems"]
    assert new["after_told"]["against"]["before"]["mean_log_perplexity_ratio"] < 0
    ensemble = load_ensemble(store, "tiny")
    assert ensemble.languages["expert-02"] == ("sv",) and len(ensemble.allocator.experts) == 4
    assert len(load_ensemble(store, "tiny", version=1).allocator.experts) == 2

    again: Any = adapt_run(config, store)
    assert again["version"] == 3 and ensemble_versions(run) == [1, 2, 3]
    make_evaluation(Lineage(config, store))
    assert read_ensemble(run, "").version == 3
    changed = config_of(tmp_path / "root", "evaluation.temperature=0.2")
    make_evaluation(Lineage(changed, store))
    warmer = read_ensemble(run, "")
    assert warmer.experts == grown.experts and warmer.mixing["temperature"] == 0.2, "added experts stay"
    assert (warmer.version, warmer.models, warmer.shares) == (4, grown.models, grown.shares)
    make_evaluation(Lineage(config, store))
    make_report(Lineage(config, store))
    assert "New languages" in (tmp_path / "root/runs/tiny/report/index.html").read_text()

    removed: Any = adapt_run(config_of(tmp_path / "root", "adaptation.remove=sv"), store)
    assert removed["removed"] == ["expert-02"] and removed["version"] == 6
    left = read_ensemble(run, "")
    assert [expert.name for expert in left.experts] == ["expert-00", "expert-01", "expert-03"]
    assert "sv" not in left.shares and left.shares["pl"] == (0.0, 0.0, 1.0)
    assert load_ensemble(store, "tiny").allocator.experts == ("expert-00", "expert-01", "expert-03")
    adapt_run(config_of(tmp_path / "root", "adaptation.remove=pl"), store)
    next_one: Any = foresee_adaptation(config_of(tmp_path / "root", "adaptation.languages=sv"), store)
    assert next_one["family_tree"][-1]["expert"] == "expert-04", "a name stands for one expert for ever"
    with pytest.raises(ConfigError, match="no added expert holds de"):
        adapt_run(config_of(tmp_path / "root", "adaptation.remove=de"), store)
    with pytest.raises(AllocationError, match=r"belongs to .* already"):
        adapt_run(config_of(tmp_path / "root", "adaptation.languages=de"), store)


def test_a_language_does_not_go_unasked_with_another_of_its_expert(tmp_path: Path) -> None:
    experts = (
        ExpertRecord("expert-00", "k0", None, 0, ("de",), ""),
        ExpertRecord("expert-01", "k1", "k0", 1, ("pl", "sv"), ""),
    )
    config = config_of(tmp_path, "adaptation.remove=sv")
    with pytest.raises(ConfigError, match=r"pl would go too, since one expert holds them with sv; name them as well"):
        adapt._removed(config, Store(str(tmp_path)), EnsembleRecord("tiny", experts, "a", "t", {}))


@pytest.mark.rare
@pytest.mark.timeout(600)
def test_a_second_round_reports_what_it_does_to_the_languages_of_the_first(
    tiny_run: tuple[Config, Store], tmp_path: Path
) -> None:
    shutil.copytree(tiny_run[1].root, tmp_path / "root")
    store = Store(str(tmp_path / "root"))
    settings = ("adaptation.budget_tokens=9000", "adaptation.lapt=false")
    first: Any = adapt_run(config_of(tmp_path / "root", "adaptation.languages=sv", *settings), store)
    second: Any = adapt_run(config_of(tmp_path / "root", "adaptation.languages=pl", *settings), store)
    assert "earlier" not in first["report"] and "languages of earlier rounds" in second["report"]["text"]
    earlier = second["report"]["earlier"]
    assert list(earlier["per_language"]) == ["sv"]
    assert earlier["systems"]["after_told"]["against"]["before_told"]["mean_log_perplexity_ratio"] == 0.0


def test_without_a_run_the_command_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match=r"jobs\.evaluate"):
        adapt_run(config_of(tmp_path, "adaptation.languages=sv"), Store(str(tmp_path)))


@pytest.mark.rare
@pytest.mark.timeout(900)
def test_a_round_that_is_killed_while_its_expert_trains_ends_like_one_that_was_not(
    tiny_run: tuple[Config, Store], tmp_path: Path
) -> None:
    quiet, killed = tmp_path / "quiet", tmp_path / "killed"
    shutil.copytree(tiny_run[1].root, quiet)
    shutil.copytree(tiny_run[1].root, killed)
    before = fleets.weights(quiet)

    def command(root: Path) -> list[str]:
        chosen = ("adaptation.languages=sv", "adaptation.budget_tokens=900000", "adaptation.lapt=false")
        options = [f"--set={item}" for item in (*TINY, *chosen, f"artifacts.root={root}")]
        return [sys.executable, "-m", "jobs.adapt", "--preset", "demo", *options]

    def ends(root: Path) -> dict[str, Any]:
        done = subprocess.run(command(root), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        made: dict[str, Any] = json.loads((root / "runs/tiny/ensembles/0002.json").read_text())
        return made

    def trains() -> bool:
        return any(step.parent.name not in before for step in fleets.steps_saved(killed))

    process = subprocess.Popen(command(killed), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        fleets.wait_for(trains, process)
    finally:
        kill_family(process)
    assert json.loads((killed / "runs/tiny/ensembles/current.json").read_text()) == {"version": 1}
    assert ends(killed) == ends(quiet)
    weights = fleets.weights(killed)
    assert weights == fleets.weights(quiet) and len(weights) == len(before) + 1
    assert {key: weights[key] for key in before} == before


@pytest.mark.rare
@pytest.mark.timeout(900)
def test_of_two_rounds_started_at_once_none_is_lost(tiny_run: tuple[Config, Store], tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(tiny_run[1].root, root)
    before = fleets.weights(root)
    settings = ("adaptation.budget_tokens=9000", "adaptation.lapt=false", f"artifacts.root={root}")

    def round_of(lang: str) -> subprocess.Popen[str]:
        options = [f"--set={item}" for item in (*TINY, f"adaptation.languages={lang}", *settings)]
        command = [sys.executable, "-m", "jobs.adapt", "--preset", "demo", *options]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    started = {lang: round_of(lang) for lang in ("sv", "pl")}
    try:
        said = {lang: process.communicate(timeout=600)[1] for lang, process in started.items()}
        refused = [lang for lang, process in started.items() if process.returncode]
        assert len(refused) <= 1 and all("Traceback" not in words for words in said.values())
        for lang in refused:
            again = round_of(lang)
            assert again.communicate(timeout=600) and again.returncode == 0, said[lang][-3000:]
    finally:
        for process in started.values():
            kill_family(process)
    record = read_ensemble(Store(str(root)).run("tiny"), "")
    assert record.version == 3 and {lang for expert in record.experts if expert.round for lang in expert.languages} == {
        "sv",
        "pl",
    }
    weights = fleets.weights(root)
    assert len(weights) == len(before) + 2 and {key: weights[key] for key in before} == before
