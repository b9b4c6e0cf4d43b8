from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from app.core.errors import ConfigError
from app.core.records import FloatArray
from app.ensemble.routing import RequestRouter, document_weights, resolve_weighting
from app.ensemble.rules import RULES, WeightingSettings

RNG = np.random.default_rng(2)


class CountingContext:
    """Distance to expert 0 shrinks with every "a", to expert 1 with every "b"."""

    def __init__(self) -> None:
        self.text = ""

    def extend(self, text: str, tokens: Sequence[int]) -> None:
        self.text += text

    def distances(self) -> FloatArray:
        return np.array([1 / (1 + self.text.count("a")), 1 / (1 + self.text.count("b"))])


class CountingSource:
    experts = ("expert-00", "expert-01")
    unit = "document"

    def context(self, lang: str | None) -> CountingContext:
        return CountingContext()


def test_auto_is_one_hot_for_a_language_that_is_told_and_else_the_posterior() -> None:
    assert resolve_weighting("auto", "language", told=True) == "one_hot"
    assert resolve_weighting("auto", "language", told=False) == "posterior"
    assert resolve_weighting("auto", "document", told=True) == "posterior"
    assert resolve_weighting("auto", "document", told=False) == "posterior"


def test_a_rule_by_distance_gives_way_where_no_distance_is_known() -> None:
    assert resolve_weighting("tfidf", "document", told=False) == "tfidf"
    assert resolve_weighting("tfidf", "language", told=True) == "tfidf"
    assert resolve_weighting("tfidf", "language", told=False) == "posterior"
    assert resolve_weighting("uniform", "language", told=False) == "uniform"


@pytest.mark.parametrize("name", RULES)
def test_documents_do_not_see_one_another(name: str) -> None:
    distances, log_probs = RNG.uniform(size=(13, 3)), np.log(RNG.uniform(size=(13, 3)))
    prior = RNG.dirichlet(np.ones(3), size=4)
    settings = WeightingSettings(name, top_m=2, drop_below=0.1, rescore_every=2)
    together = document_weights(settings, [4, 0, 6, 3], log_probs, distances, prior)
    for number, (start, stop) in enumerate(((0, 4), (4, 4), (4, 10), (10, 13))):
        alone = document_weights(
            settings, [stop - start], log_probs[start:stop], distances[start:stop], prior[[number]]
        )
        assert np.array_equal(together.weights[start:stop], alone.weights)
        assert np.array_equal(together.running[start:stop], alone.running)


@pytest.mark.parametrize("name", RULES)
def test_a_tokens_weights_do_not_see_the_token_itself(name: str) -> None:
    """Whatever token t and all after it are, the weights of tokens 0..t stay as they are."""
    distances, log_probs = RNG.uniform(size=(8, 3)), np.log(RNG.uniform(size=(8, 3)))
    settings = WeightingSettings(name)
    found = document_weights(settings, [8], log_probs, distances).weights
    for t in range(8):
        other, elsewhere = log_probs.copy(), distances.copy()
        other[t:] = np.log(RNG.uniform(size=(8 - t, 3)))
        elsewhere[t + 1 :] = RNG.uniform(size=(7 - t, 3))
        changed = document_weights(settings, [8], other, elsewhere).weights
        assert np.array_equal(changed[: t + 1], found[: t + 1])
        if t < 7 and name not in ("uniform", "fixed", "one_hot"):
            assert not np.array_equal(changed[t + 1], found[t + 1])  # what came before it does count


def test_the_cost_counts_kept_experts_and_the_passes_that_catch_up() -> None:
    """By hand: the second expert is dropped after the first token and looked at again before token 2, 4, 6."""
    log_probs = np.tile(np.log([0.9, 0.001]), (7, 1))
    found = document_weights(WeightingSettings(drop_below=0.01, rescore_every=2), [7], log_probs)
    assert found.running.tolist() == [2, 1, 1, 1, 1, 1, 1]
    assert found.passes.tolist() == [2, 1, 2, 1, 2, 1, 2]
    plain = document_weights(WeightingSettings("uniform"), [7], log_probs)
    assert plain.running.tolist() == plain.passes.tolist() == [2] * 7


def test_a_router_by_distance_follows_the_text() -> None:
    router = RequestRouter(CountingSource(), WeightingSettings("tfidf", temperature=1.0), None, "ab")
    assert router.weights() == pytest.approx([0.5, 0.5])
    router.observe("a", 7, np.array([math.nan, math.nan]))
    near, far = math.exp(-1 / 9), math.exp(-1 / 4)
    assert router.weights() == pytest.approx([near / (near + far), far / (near + far)])


def test_a_router_by_scores_gives_what_whole_documents_get_token_by_token() -> None:
    log_probs = np.log(np.random.default_rng(3).dirichlet(np.ones(2), size=9))
    settings = WeightingSettings("posterior", drop_below=0.3, rescore_every=3)
    expected = document_weights(settings, [9], log_probs).weights
    router = RequestRouter(CountingSource(), settings, None, "", (), log_probs[:2])
    for place in range(2, 9):
        for expert, missed in enumerate(router.missed().tolist()):
            if missed:
                router.catch_up(expert, log_probs[place - missed : place, expert])
        assert np.array_equal(router.weights(), expected[place])
        router.observe("", 0, np.where(router.running(), log_probs[place], np.nan))


def test_a_router_starts_from_the_prior() -> None:
    router = RequestRouter(CountingSource(), WeightingSettings(), "de", prior=(0.9, 0.1))
    assert router.weights() == pytest.approx([0.9, 0.1])


def test_settings_that_cannot_be_used_are_refused_before_the_first_token() -> None:
    with pytest.raises(ConfigError, match="top_m is 5"):
        RequestRouter(CountingSource(), WeightingSettings(top_m=5), None)
