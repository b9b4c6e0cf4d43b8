from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

from app.config.load import preset_names

JOBS = (
    "shard",
    "seed",
    "tokenize",
    "allocate",
    "baseline",
    "train",
    "evaluate",
    "report",
    "all",
    "doctor",
    "status",
    "stop",
    "export",
    "import_experts",
    "plan",
)
PUBLISHED_K4 = [["en", "es", "bg", "ru"], ["ja", "ko", "tr", "zh"], ["de", "el", "fr", "ar"], ["hi", "ur", "vi", "sw"]]


def _main(job: str, *arguments: str) -> int:
    status: int = importlib.import_module(f"jobs.{job}").main([*arguments])
    return status


@pytest.mark.parametrize("preset", preset_names())
@pytest.mark.parametrize("job", JOBS)
def test_every_job_plans_every_preset_without_a_corpus_and_without_making_anything(
    job: str, preset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, empty = tmp_path / "artifacts", tmp_path / "empty"
    empty.mkdir()
    arguments = ["--preset", preset, "--dry-run", "--format", "json", "--set", f"artifacts.root={root}"]
    if preset != "demo":
        arguments += ["--set", f"corpus.path={empty}"]  # keeps the mC4 presets from asking the Hub
    assert _main(job, *arguments) == 0
    out = capsys.readouterr().out
    plan = json.loads(out)
    assert out.count("\n") == 1 and plan["job"] == job and plan["config"]["run"]["name"] == preset
    budget, step = (plan["config"]["training"][name] for name in ("budget_tokens", "tokens_per_step"))
    assert sum(plan["tokens_per_expert"]) == plan["tokens_dense"] == pytest.approx(budget, abs=step / 2)
    assert not plan["tokens_dense"] % step
    assert len(plan["clusters"]) == plan["config"]["allocation"]["k"]
    assert not root.exists()


@pytest.mark.parametrize("preset", ["paper-k4", "paper-k8", "paper-k16"])
def test_a_plan_for_the_hubs_corpus_does_not_ask_the_hub(
    preset: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> None:
        raise AssertionError("the Hub was asked")

    monkeypatch.setattr("app.corpora.hub.hub_filesystem", refuse)
    assert _main("allocate", "--preset", preset, "--dry-run", "--format", "json") == 0
    plan = json.loads(capsys.readouterr().out)
    assert "problem" not in plan["inputs"] and len(plan["clusters"]) == int(preset.removeprefix("paper-k"))


def test_allocate_shows_the_published_clusters_in_expert_order(capsys: pytest.CaptureFixture[str]) -> None:
    assert _main("allocate", "--preset", "demo", "--dry-run", "--format", "json") == 0
    clusters = json.loads(capsys.readouterr().out)["clusters"]
    assert [set(cluster) for cluster in clusters] == [set(cluster) for cluster in PUBLISHED_K4]


def test_a_config_error_is_one_clear_line_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert _main("train", "--preset", "demo", "--set", "allocation.strateg=tfidf") == 2
    captured = capsys.readouterr()
    assert captured.out == "" and "did you mean 'allocation.strategy'" in captured.err
    assert "Traceback" not in captured.err


def test_an_unknown_strategy_is_refused_before_anything_starts(capsys: pytest.CaptureFixture[str]) -> None:
    assert _main("train", "--preset", "demo", "--set", "allocation.strategy=typology") == 2
    assert "did you mean 'typological'" in capsys.readouterr().err


def test_a_job_without_its_parent_names_the_job_to_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _main("tokenize", "--preset", "demo", "--set", f"artifacts.root={tmp_path}") == 1
    assert "python -m jobs.shard" in capsys.readouterr().err


def test_a_plan_gives_a_language_of_more_weight_more_tokens(capsys: pytest.CaptureFixture[str]) -> None:
    weights = ("corpus.quality_weights.de=5", "corpus.quality_weights.en=0.5")
    assert _main("allocate", "--preset", "demo", "--dry-run", "--format", "json", *(f"--set={w}" for w in weights)) == 0
    plan = json.loads(capsys.readouterr().out)
    total = 14 + 5 + 0.5  # sixteen languages
    held = [sum({"de": 5, "en": 0.5}.get(lang, 1) for lang in cluster) for cluster in plan["clusters"]]
    assert plan["tokens_per_expert"] == pytest.approx(
        [plan["tokens_dense"] * share / total for share in held], abs=4096
    )
    assert not any(tokens % 4096 for tokens in plan["tokens_per_expert"])
