from __future__ import annotations

import itertools

import numpy as np
import pytest

from app.core.errors import ConfigError
from app.ensemble.many import Candidate, document_log_probs
from app.ensemble.mixing import mix_log_probs
from app.ensemble.routing import document_weights
from app.ensemble.rules import RULES, WeightingSettings

LENGTHS = (7, 1, 23, 12, 23)


def one_at_a_time(candidates: list[Candidate], log_probs: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """The code that evaluation and serving use, weighting by weighting."""
    rows = []
    for each in candidates:
        prior = None if each.prior is None else np.asarray(each.prior)
        weights = document_weights(each.settings, LENGTHS, log_probs, distances, prior).weights
        rows.append(np.add.reduceat(mix_log_probs(log_probs, weights), np.cumsum((0, *LENGTHS[:-1]))))
    return np.array(rows)


def test_all_weightings_at_once_give_what_each_gives_alone() -> None:
    rng = np.random.default_rng(0)
    total, k = sum(LENGTHS), 4
    log_probs = -rng.gamma(2.0, 2.0, size=(total, k))
    log_probs[5] = -3.0  # experts that say the same
    log_probs[9, 1] = -300.0  # and one that nearly rules a token out
    distances = rng.uniform(0.2, 1.2, size=(total, k))
    priors = (None, (0.4, 0.3, 0.3, 0.0), (0.7, 0.1, 0.1, 0.1))
    candidates = [
        Candidate(WeightingSettings("posterior", 0.1, top_m, power, forgetting, drop, every), prior)
        for top_m, power, forgetting, (drop, every), prior in itertools.product(
            (0, 1, 3), (0.5, 1.0), (0.0, 0.9, 1.0), ((0.0, 64), (0.02, 5), (0.02, 0)), priors
        )
    ]
    candidates += [
        Candidate(WeightingSettings(name, temperature, top_m), prior)
        for name, temperature, top_m, prior in itertools.product(RULES, (0.05, 0.5), (0, 2, 4), priors)
    ]
    found = document_log_probs(candidates, LENGTHS, log_probs, distances)
    assert found.shape == (len(candidates), len(LENGTHS)) and len(candidates) > 250
    np.testing.assert_allclose(found, one_at_a_time(candidates, log_probs, distances), rtol=1e-9)


def test_a_hand_worked_mixture_starts_from_its_prior_and_follows_the_text() -> None:
    log_probs = np.log(np.array([[0.5, 0.25], [0.5, 0.25]]))
    found = document_log_probs([Candidate(WeightingSettings(drop_below=0.0), (0.25, 0.75))], [2], log_probs)
    first = 0.25 * 0.5 + 0.75 * 0.25
    weights = np.array([0.25 * 0.5, 0.75 * 0.25]) / first
    assert found[0, 0] == pytest.approx(np.log(first) + np.log(weights @ [0.5, 0.25]))


def test_what_cannot_be_used_is_refused_in_the_words_of_one_weighting() -> None:
    scores = np.zeros((2, 3))
    with pytest.raises(ConfigError, match="top_m is 4 but there are 3 experts"):
        document_log_probs([Candidate(WeightingSettings(top_m=4))], [2], scores)
    with pytest.raises(ConfigError, match="tfidf needs distances"):
        document_log_probs([Candidate(WeightingSettings("tfidf"))], [2], scores)
