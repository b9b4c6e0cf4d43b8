from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.artifacts.store import Store
from app.config.load import load_config
from app.config.schema import Config
from app.core.errors import ConfigError, MissingArtifact
from app.ensemble.many import Candidate
from app.ensemble.rules import WeightingSettings
from app.evaluation.scores import scored_documents
from tune.kept import Kept, read_kept
from tune.weighting import best_weighting, candidates, fitted_prior, halved, mean_log_ratios, told_priors


def test_the_runs_own_weighting_has_the_figure_that_evaluation_found(tiny_run: tuple[Config, Store]) -> None:
    config, store = tiny_run
    own, kept, priors = read_kept(config, store)
    summary = store.run(config.run.name).read_json("evaluation/summary.json")
    assert own.name == "posterior"
    found = mean_log_ratios(kept, [Candidate(own)]).item()
    assert found == pytest.approx(float(str(summary["mean_log_perplexity_ratio"])), abs=1e-5)
    assert priors["uniform"] is None and priors["documents"] == (0.5, 0.5)  # two languages each, of as many documents
    assert sum(priors["tokens"] or ()) == pytest.approx(1) and priors["tokens"] != priors["documents"]


def test_the_best_on_one_half_is_reported_on_the_other(tiny_run: tuple[Config, Store]) -> None:
    config, store = tiny_run
    found = best_weighting(config, store)
    assert isinstance(found["tried"], int) and found["tried"] > 500
    own, kept, priors = read_kept(config, store)
    best, held_back, chosen_on = found["best"], found["held_back"], found["chosen_on"]
    assert isinstance(best, dict) and isinstance(held_back, dict) and isinstance(chosen_on, dict)
    priors["em"] = fitted_prior(kept.half(0))
    prior = priors[str(best.pop("prior"))]
    one = Candidate(WeightingSettings(**best), prior)  # type: ignore[arg-type]
    assert held_back["mean_log_ratio"] == pytest.approx(mean_log_ratios(kept.half(1), [one]).item())
    assert isinstance(found["told"], dict) and list(found["told"]["priors"]) == ["de", "en", "hi", "ja"]  # type: ignore[arg-type]
    assert isinstance(found["told"]["detected"], float) and "language detected in the first 32 tokens" in str(
        found["text"]
    )
    figures = mean_log_ratios(kept.half(0), list(candidates(kept.unit, 2, own, priors)))
    assert chosen_on["mean_log_ratio"] == figures.min()


def test_a_languages_own_prior_is_learned_on_one_half_and_pays_on_the_other() -> None:
    """Each language's texts are certain of an expert of its own, but only after their first token."""
    length, langs = [2] * 8, ["de", "fr"] * 4
    scores = np.full((16, 2), -9.0)
    for document, lang in enumerate(langs):
        scores[2 * document : 2 * document + 2, int(lang == "fr")] = -1.0
    documents = scored_documents([f"d{n}" for n in range(8)], langs, length, [9] * 8)
    kept = Kept(
        documents, scores, np.ones((16, 2)), np.full(16, -1.0), "document", {"de": (0.1, 0.9), "fr": (0.9, 0.1)}, 8
    )
    halves = [kept.half(half) for half in (0, 1)]
    told = told_priors(halves, WeightingSettings(), {})
    # two texts of each language and one text's worth for all: the own expert has 2.5 / 3
    assert told["priors"]["de"] == pytest.approx([2.5 / 3, 0.5 / 3], abs=1e-3)  # type: ignore[call-overload,index]
    untold = mean_log_ratios(halves[1], [Candidate(WeightingSettings())]).item()
    assert told["em"] < untold < told["shares"]  # type: ignore[operator]
    assert told["em"] == pytest.approx(-np.log(2.5 / 3) / 2, abs=1e-3)
    assert told["detected"] is None


def test_a_prior_of_the_language_that_a_document_looks_like_is_another_where_it_looks_like_another() -> None:
    """As above; every language has one document in each half that looks like the other one, and one of none."""
    langs = ["de", "fr"] * 6
    scores = np.full((12, 2), -9.0)
    scores[np.arange(12), [int(lang == "fr") for lang in langs]] = -1.0
    documents = scored_documents([f"d{n}" for n in range(12)], langs, [1] * 12, [9] * 12)
    kept = Kept(documents, scores, np.ones((12, 2)), np.full(12, -1.0), "document", {"de": None, "fr": None}, 12)
    halves = [kept.half(half) for half in (0, 1)]
    own = dict(zip(documents.doc_ids, langs, strict=True))
    right = told_priors(halves, WeightingSettings(), own)
    assert (right["detected"], right["detected_right"]) == (right["em"], 1.0)
    # Of the three in each half: the first looks like the other language, the last like none.
    looks = dict(own)
    for half in halves:
        for place, name in enumerate(half.documents.doc_ids):
            if place % 3 == 0:
                looks[name] = {"de": "fr", "fr": "de"}[own[name]]
            if place % 3 == 2:
                del looks[name]
    found = told_priors(halves, WeightingSettings(), looks)
    assert found["detected_right"] == pytest.approx(1 / 3)
    # Each language's prior is fitted on one text of each and one text's worth for all: 1/2, as for those of none.
    assert found["detected"] == pytest.approx(np.log(2), abs=1e-3)
    assert found["em"] == pytest.approx(-np.log(3.5 / 4), abs=1e-3)


def some_documents(*langs: str) -> Kept:
    """One-token documents of these languages, under two experts."""
    count = len(langs)
    documents = scored_documents([f"d{n}" for n in range(count)], list(langs), [1] * count, [9] * count)
    return Kept(documents, np.zeros((count, 2)), np.ones((count, 2)), np.zeros(count), "document", {}, count)


def test_a_language_of_a_single_document_is_in_no_half_and_is_named() -> None:
    halves, left_out = halved(some_documents("de", "fr", "de", "sw", "de"))
    assert left_out == ["fr", "sw"]
    assert [half.documents.langs for half in halves] == [("de", "de"), ("de",)]
    assert sorted([*halves[0].documents.doc_ids, *halves[1].documents.doc_ids]) == ["d0", "d2", "d4"]


def test_one_document_of_each_language_is_an_error_that_names_the_setting() -> None:
    with pytest.raises(ConfigError, match=r"one document of de, fr .*evaluation\.max_documents_per_language=2"):
        halved(some_documents("de", "fr"))


def test_rules_by_distance_are_tried_only_where_no_language_is_needed_for_it() -> None:
    own = WeightingSettings()
    assert "tfidf" not in {each.settings.name for each in candidates("language", 4, own)}
    by_document = list(candidates("document", 4, own))
    assert len({each.settings.temperature for each in by_document if each.settings.name == "tfidf"}) == 13
    assert len(by_document) == len(set(by_document))


def test_each_prior_is_tried_once_with_the_rules_that_look_at_it() -> None:
    half = (0.5, 0.5)
    found = list(candidates("document", 2, WeightingSettings(), {"uniform": None, "tokens": half, "documents": half}))
    assert {each.prior for each in found if each.settings.name in ("posterior", "bayes")} == {None, half}
    assert {each.prior for each in found if each.settings.name == "fixed"} == {half}
    assert {each.prior for each in found if each.settings.name in ("tfidf", "uniform", "one_hot")} == {None}
    assert len(found) == len(set(found))


def test_an_unknown_run_is_named(tmp_path: Path) -> None:
    config = load_config("demo", overrides=[f"artifacts.root={tmp_path}", "run.name=nowhere"])
    with pytest.raises(MissingArtifact, match="nowhere"):
        best_weighting(config, Store(str(tmp_path)))
