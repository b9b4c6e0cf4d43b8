from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from app.allocation.by_language import LanguageAllocator
from app.allocation.random_split import RandomAllocator
from app.allocation.storage import save_allocator
from app.artifacts.counts import ModelCounts
from app.artifacts.ensemble import read_ensemble
from app.artifacts.layout import ALLOCATOR, SUMMARY
from app.artifacts.manifest import Manifest
from app.artifacts.store import Store
from app.config.load import load_config
from app.evaluation.document_rows import open_rows
from app.evaluation.scores import ScoredDocuments, save_block, scored_documents
from app.pipelines import evaluate
from app.pipelines.evaluate import make_evaluation

LENGTHS = [3, 2, 4]
DOCUMENTS = scored_documents(["a", "b", "c"], ["de", "de", "sw"], LENGTHS, [9, 5, 12])
RNG = np.random.default_rng(0)
NAMES = ("seed", "dense", "dense_tuned", "expert-00", "expert-01")
SCORES = {name: RNG.uniform(-4, -0.5, size=9).astype(np.float32) for name in NAMES}
HELD = {("expert-00", "de"): 30, ("expert-01", "de"): 90, ("expert-00", "sw"): 50, ("expert-01", "sw"): 0}
STEPS = {"dense": 40, "dense_tuned": 41, "expert-00": 21, "expert-01": 19}


def lineage(tmp_path: Path, by_language: bool, run: str, *overrides: str) -> Any:
    """A run whose models are scored: two experts of two languages, two dense models."""
    config = load_config("demo", overrides=[f"run.name={run}", "evaluation.bootstrap_samples=50", *overrides])
    store = Store(str(tmp_path))
    experts = ("expert-00", "expert-01")
    allocation = store.stage("allocation", f"cut-{by_language}")
    if not allocation.is_complete:
        owned = LanguageAllocator(experts, (("sw",), ("de",)))
        save_allocator(owned if by_language else RandomAllocator(experts, 0), allocation.child(ALLOCATOR).write)
        allocation.publish(Manifest("allocation", allocation.key, {}, {}, {}))

    def task(name: str) -> Any:
        seen = {"de": 100 if name == "dense" else 45, "sw": 90}
        counts = ModelCounts(name, 10, "digest", steps=STEPS[name], tokens_seen=190, exposure_tokens=seen)
        stage = SimpleNamespace(counts=lambda _kind: counts, manifest=lambda: None)
        held = {lang: tokens for (expert, lang), tokens in HELD.items() if expert == name}
        return SimpleNamespace(
            name=name,
            key=f"key-{name}",
            parent="key-seed",
            round=0,
            weights={"de": 0.5, "sw": 0.5},
            stage=stage,
            held=held,
        )

    baselines, tasks = [task("dense"), task("dense_tuned")], [task(name) for name in experts]
    place = SimpleNamespace(key=allocation.key, folder=allocation, finished=lambda: allocation)
    return SimpleNamespace(
        block_tokens=1 << 20,
        distances=lambda documents: np.tile([0.5, 1.0], (documents.num_tokens, 1)),
        config=config,
        store=store,
        run=store.run(run),
        allocation=place,
        experts=tasks,
        baselines=baselines,
        seed=SimpleNamespace(key="key-seed"),
        tokenizer=SimpleNamespace(key="key-tokenizer"),
        token_corpus=SimpleNamespace(languages=lambda: ("de", "sw")),
        models=lambda: {name: SimpleNamespace(manifest=lambda: None) for name in NAMES},
    )


@pytest.fixture(autouse=True)
def models_are_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    def score_models(given: Any, models: Any) -> dict[str, Any]:
        stages = {name: given.store.stage("scores", f"scores-{name}") for name in models}
        for name, stage in stages.items():
            for number, (documents, tokens) in enumerate(DOCUMENTS.pieces(given.block_tokens)):
                save_block(stage, number, documents, SCORES[name][tokens])
            counts = {"tokens": 9, "documents": 3, "blocks": number + 1}
            stage.publish(Manifest("scores", stage.key, {}, {}, counts))
        return stages

    monkeypatch.setattr(evaluate, "score_models", score_models)
    real = evaluate.with_distances

    def maybe_same(given: Any, allocator: Any, blocks: Any) -> Any:
        if allocator.unit == "language":
            yield from real(given, allocator, blocks)
        else:
            yield from ((block, given.distances(block.documents)) for block in blocks)

    monkeypatch.setattr(evaluate, "with_distances", maybe_same)


def by_document(documents: ScoredDocuments) -> np.ndarray:
    """Each document as far from the experts as its name says, a little farther with each token."""
    start = {"a": (0.5, 1.0), "b": (0.9, 0.4), "c": (0.2, 0.3)}
    lengths = zip(documents.doc_ids, documents.length.tolist(), strict=True)
    return np.stack([np.asarray(start[name]) + 0.01 * t for name, length in lengths for t in range(length)])


def perplexity(log_probs: np.ndarray) -> float:
    return math.exp(-float(np.mean(log_probs.astype(np.float64))))


def cells(made: Any, lang: str) -> Any:
    return made.run.read_json(SUMMARY)["per_language"][lang]


def test_models_have_the_perplexity_of_their_scores(tmp_path: Path) -> None:
    made = lineage(tmp_path, True, "one")
    make_evaluation(made)
    for name in NAMES:
        assert cells(made, "de")[name]["perplexity"] == pytest.approx(perplexity(SCORES[name][:5]))
        assert cells(made, "sw")[name]["perplexity"] == pytest.approx(perplexity(SCORES[name][5:]))


def test_a_languages_home_is_the_expert_that_trains_on_most_of_it(tmp_path: Path) -> None:
    made = lineage(tmp_path, False, "one")
    make_evaluation(made)
    assert made.run.read_json(SUMMARY)["expert_of_language"] == {"de": "expert-01", "sw": "expert-00"}
    assert cells(made, "de")["top1_language"]["perplexity"] == pytest.approx(perplexity(SCORES["expert-01"][:5]))


def by_hand(start: int, stop: int, prior: list[float]) -> float:
    """Log-probability of one document under the posterior: that of the mixture of whole documents."""
    whole = [math.exp(float(SCORES[f"expert-0{e}"][start:stop].astype(np.float64).sum())) for e in (0, 1)]
    return math.log(sum(weight * value for weight, value in zip(prior, whole, strict=True)))


def test_a_cut_of_documents_is_weighed_by_the_posterior_told_or_not_and_never_by_the_nearest(tmp_path: Path) -> None:
    made = lineage(tmp_path, False, "one")
    make_evaluation(made)
    summary, found = made.run.read_json(SUMMARY), cells(made, "de")
    untold = by_hand(0, 3, [0.5, 0.5]) + by_hand(3, 5, [0.5, 0.5])
    told = by_hand(0, 3, [0.25, 0.75]) + by_hand(3, 5, [0.25, 0.75])
    assert summary["weighting"] == "posterior"
    assert found["ensemble"]["perplexity"] == pytest.approx(math.exp(-untold / 5))
    assert found["ensemble_told"]["perplexity"] == pytest.approx(math.exp(-told / 5))
    near, far = math.exp(-0.25 / 0.1), math.exp(-1 / 0.1)
    mixed = np.log((near * np.exp(SCORES["expert-00"][:5]) + far * np.exp(SCORES["expert-01"][:5])) / (near + far))
    assert found["tfidf"]["perplexity"] == pytest.approx(perplexity(mixed), rel=1e-5)
    assert summary["made"]["ensemble"]["told_language"] is False and summary["made"]["ensemble_told"]["told_language"]


def test_a_merge_of_the_config_is_a_system_that_has_seen_what_its_experts_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = lineage(tmp_path, True, "one", "merges.merged_one.weights.expert-01=2")
    average = made.store.stage("model", "average")
    fields: dict[str, Any] = {"kind": "merged", "weights": {"expert-01": 1.0}}
    average.publish(Manifest("model", average.key, fields, {}, {}))
    monkeypatch.setattr(evaluate, "make_merges", lambda *_: {"merged_one": average})
    monkeypatch.setitem(SCORES, "merged_one", SCORES["dense"] - 0.5)
    make_evaluation(made)
    found = cells(made, "sw")["merged_one"]
    assert found["perplexity"] == pytest.approx(perplexity(SCORES["dense"][5:] - 0.5), rel=1e-5)
    assert found["exposure_tokens"] == cells(made, "sw")["expert-01"]["exposure_tokens"] == 90
    assert read_ensemble(made.run, "").models["merged_one"] == "average"


def test_a_cut_of_languages_gives_the_told_ensemble_the_owner(tmp_path: Path) -> None:
    made = lineage(tmp_path, True, "one")
    make_evaluation(made)
    assert cells(made, "de")["ensemble_told"]["perplexity"] == pytest.approx(perplexity(SCORES["expert-01"][:5]))
    assert made.run.read_json(SUMMARY)["made"]["ensemble_told"]["weighting"] == "one_hot"


def test_steps_and_exposure_stand_beside_each_system(tmp_path: Path) -> None:
    made = lineage(tmp_path, True, "one")
    make_evaluation(made)
    assert made.run.read_json(SUMMARY)["steps"] == STEPS
    assert cells(made, "de")["ensemble"]["exposure_tokens"] == 90
    assert cells(made, "de")["dense"]["exposure_tokens"] == 100


def test_every_baseline_is_compared_with(tmp_path: Path) -> None:
    made = lineage(tmp_path, True, "one")
    make_evaluation(made)
    against = made.run.read_json(SUMMARY)["systems"]["ensemble"]["against"]["dense_tuned"]
    ratios = [
        math.log(cells(made, lang)["ensemble"]["perplexity"] / cells(made, lang)["dense_tuned"]["perplexity"])
        for lang in ("de", "sw")
    ]
    assert against["mean_log_perplexity_ratio"] == pytest.approx(sum(ratios) / 2)


def test_an_evaluation_that_two_runs_share_names_each_of_them(tmp_path: Path) -> None:
    first, second = lineage(tmp_path, True, "first"), lineage(tmp_path, True, "second")
    one, two = make_evaluation(first)["evaluation"], make_evaluation(second)["evaluation"]
    assert one.key == two.key
    assert [made.run.read_json(SUMMARY)["run"] for made in (first, second)] == ["first", "second"]


def test_serving_gets_the_shares_unless_the_prior_is_uniform(tmp_path: Path) -> None:
    made = lineage(tmp_path, False, "one")
    make_evaluation(made)
    record = read_ensemble(made.run, "")
    assert record.shares == {"de": (0.25, 0.75), "sw": (1.0, 0.0)} and record.mixing["name"] == "auto"
    plain = lineage(tmp_path, False, "plain", "evaluation.prior=uniform")
    make_evaluation(plain)
    # Who holds most of a language must be known all the same: new experts branch from it.
    equal = read_ensemble(plain.run, "")
    assert equal.shares == record.shares and record.start == record.shares and equal.start == {}
    assert "ensemble_told" not in cells(plain, "de")


@pytest.mark.parametrize("by_language", [True, False])
def test_an_evaluation_block_by_block_is_that_of_the_whole_text(
    tmp_path: Path, by_language: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    summaries, rows = [], []
    for name, tokens, cells in (("whole", 1 << 20, 1 << 23), ("blocks", 4, 1 << 23), ("pieces", 5, 2)):
        monkeypatch.setattr(evaluate, "CELLS_AT_ONCE", cells)
        made = lineage(tmp_path / name, by_language, "one")
        made.block_tokens, made.distances = tokens, by_document
        stage = make_evaluation(made)["evaluation"]
        summaries.append(stage.read_json("summary.json"))
        with open_rows(stage) as found:
            groups = list(found.groups(["doc_id", "lang", "tokens", "bytes", "ensemble"]))
        rows.append({column: [value for each in groups for value in each[column]] for column in groups[0]})
    assert len(groups) == 2
    assert summaries[1] == summaries[0] and summaries[2] == summaries[0]
    assert rows[1] == rows[0] and rows[2] == rows[0] and rows[0]["doc_id"] == ["a", "b", "c"]
