from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest

from app.core.records import FloatArray
from app.ensemble.rules import WeightingSettings
from app.evaluation.scores import scored_documents
from app.evaluation.systems import (
    ENSEMBLE,
    ENSEMBLE_TOLD,
    TOP1_CONTEXT,
    TOP1_LANGUAGE,
    ExpertEvidence,
    System,
    compared_systems,
    use_experts,
)

DOCUMENTS = scored_documents(["a", "b"], ["de", "sw"], [3, 2], [9, 4])
P = np.array([[0.5, 0.1], [0.5, 0.4], [0.2, 0.3], [0.1, 0.6], [0.1, 0.2]])  # probability of each token under 2 experts
DISTANCES = np.array([[0.2, 0.4], [0.5, 0.4], [0.1, 0.3], [0.6, 0.5], [0.6, 0.1]])
BY_LANGUAGE = np.array([[0, np.inf]] * 3 + [[np.inf, 0]] * 2)
SHARES = {"de": np.array([0.7, 0.3]), "sw": np.array([0.0, 1.0])}
OWNED = {"de": np.array([1.0, 0.0]), "sw": np.array([0.0, 1.0])}
AUTO = WeightingSettings("auto", drop_below=0.0)

POSTERIOR = [
    (0.5 + 0.1) / 2,
    (0.5 * 0.5 + 0.1 * 0.4) / 0.6,
    (0.25 * 0.2 + 0.04 * 0.3) / 0.29,
    (0.1 + 0.6) / 2,
    (0.1 * 0.1 + 0.6 * 0.2) / 0.7,
]
"""By hand, for both documents from equal weights."""


def by_distance(temperature: float) -> list[float]:
    """softmax(-d^2/T), written out."""
    expected = []
    for (near, far), (p, q) in zip(DISTANCES.tolist(), P.tolist(), strict=True):
        a, b = math.exp(-(near**2) / temperature), math.exp(-(far**2) / temperature)
        expected.append((a * p + b * q) / (a + b))
    return expected


def found(
    unit: str, weighting: WeightingSettings = AUTO, prior: Literal["language", "uniform"] = "language"
) -> tuple[dict[str, System], dict[str, list[float]]]:
    """Records and probabilities of the ways of using two experts."""
    by_language = unit == "language"
    distances: FloatArray = BY_LANGUAGE if by_language else DISTANCES
    evidence = ExpertEvidence(np.log(P), distances, OWNED if by_language else SHARES, unit)
    systems = {s.name: s for s in compared_systems(["seed"], weighting, unit, prior) if s.uses_experts}
    used = {name: use_experts(system, DOCUMENTS, evidence) for name, system in systems.items()}
    return systems, {name: np.exp(one.log_probs).tolist() for name, one in used.items()}


def test_a_languages_home_is_the_expert_that_holds_most_of_it() -> None:
    evidence = ExpertEvidence(np.log(P), DISTANCES, SHARES, "document")
    assert (evidence.home("de"), evidence.home("sw")) == (0, 1)
    assert found("document")[1][TOP1_LANGUAGE] == pytest.approx([0.5, 0.5, 0.2, 0.6, 0.2])


def test_top1_by_context_is_the_nearest_expert_at_each_token() -> None:
    assert found("document")[1][TOP1_CONTEXT] == pytest.approx([0.5, 0.4, 0.2, 0.6, 0.2])


def test_languages_alone_leave_top1_by_context_to_the_posterior() -> None:
    assert found("language")[1][TOP1_CONTEXT] == pytest.approx([0.5, 0.5, 0.2, 0.1, 0.2])


@pytest.mark.parametrize("unit", ["language", "document"])
def test_the_ensemble_that_is_not_told_weighs_by_the_posterior_anew_for_each_document(unit: str) -> None:
    systems, values = found(unit)
    assert values[ENSEMBLE] == pytest.approx(POSTERIOR) and not systems[ENSEMBLE].told


def test_owned_languages_make_the_told_ensemble_the_top1_by_language() -> None:
    systems, values = found("language")
    assert systems[ENSEMBLE_TOLD].told and values[ENSEMBLE_TOLD] == pytest.approx(values[TOP1_LANGUAGE])


def test_where_documents_are_cut_the_told_ensemble_starts_from_the_languages_shares() -> None:
    systems, values = found("document")
    weights = [0.7 * 0.5, 0.3 * 0.1], [0.7 * 0.25, 0.3 * 0.04]
    second, third = ((a * p + b * q) / (a + b) for (a, b), (p, q) in zip(weights, P[1:3].tolist(), strict=True))
    assert systems[ENSEMBLE_TOLD].told
    assert values[ENSEMBLE_TOLD] == pytest.approx([0.7 * 0.5 + 0.3 * 0.1, second, third, 0.6, 0.2])


def test_the_papers_rule_stands_beside_the_ensemble_where_distances_exist() -> None:
    systems, values = found("document", replace(AUTO, temperature=0.3))
    assert values["tfidf"] == pytest.approx(by_distance(0.3)) and not systems["tfidf"].told
    assert "tfidf" not in found("language")[0] and "posterior" not in systems


def test_a_configured_rule_is_the_ensembles_and_the_posterior_stands_beside_it() -> None:
    systems, values = found("document", replace(AUTO, name="tfidf"))
    assert values[ENSEMBLE] == pytest.approx(by_distance(0.1)) and values["posterior"] == pytest.approx(POSTERIOR)
    assert "tfidf" not in systems and ENSEMBLE_TOLD not in systems  # distances do not depend on the language


def test_without_a_prior_by_language_a_cut_of_documents_has_nothing_to_be_told() -> None:
    assert ENSEMBLE_TOLD not in found("document", prior="uniform")[0]
    assert ENSEMBLE_TOLD in found("language", prior="uniform")[0]


def test_the_cost_of_a_token_is_the_experts_that_must_run() -> None:
    evidence = ExpertEvidence(np.log(P), BY_LANGUAGE, OWNED, "language")
    systems = {system.name: system for system in compared_systems([], AUTO, "language", "language")}
    assert use_experts(systems[ENSEMBLE_TOLD], DOCUMENTS, evidence).running == 5
    assert use_experts(systems[ENSEMBLE], DOCUMENTS, evidence).running == 10


def test_every_model_is_a_system_that_is_not_told() -> None:
    models = compared_systems(["seed", "dense", "x"], AUTO, "language", "language")[:3]
    assert [(system.name, system.told, system.uses_experts) for system in models] == [
        ("seed", False, False),
        ("dense", False, False),
        ("x", False, False),
    ]
