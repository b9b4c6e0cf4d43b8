from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from app.core.errors import ConfigError
from app.core.records import FloatArray
from app.ensemble.routing import PosteriorRouter, TextRouter, document_weights, resolve_weighting
from app.ensemble.weights import Signals, WeightingSettings, expert_weights

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


def test_auto_is_one_hot_for_languages_and_tfidf_for_documents() -> None:
    assert resolve_weighting("auto", "language") == "one_hot"
    assert resolve_weighting("auto", "document") == "tfidf"
    assert resolve_weighting("uniform", "language") == "uniform"


@pytest.mark.parametrize("name", ["tfidf", "posterior"])
def test_documents_do_not_see_one_another(name: str) -> None:
    distances, log_probs = RNG.uniform(size=(10, 3)), np.log(RNG.uniform(size=(10, 3)))
    settings = WeightingSettings(name, top_m=2)
    together = document_weights(settings, distances, [4, 0, 6], log_probs)
    for start, stop in ((0, 4), (4, 10)):
        alone = expert_weights(Signals(distances[start:stop], log_probs[start:stop]), settings)
        assert np.array_equal(together[start:stop], alone)


def test_a_router_follows_the_text() -> None:
    router = TextRouter(CountingSource(), WeightingSettings("tfidf", temperature=1.0), None, "ab")
    assert router.weights() == pytest.approx([0.5, 0.5])
    router.observe("a", 0)
    assert router.weights() == pytest.approx(
        expert_weights(Signals(np.array([[1 / 3, 1 / 2]])), WeightingSettings(temperature=1.0))[0]
    )
    assert router.weights()[0] > 0.5


def test_a_router_refuses_weights_that_need_scores() -> None:
    with pytest.raises(ConfigError, match="posterior"):
        TextRouter(CountingSource(), WeightingSettings("posterior"), None)


def test_the_posterior_router_gives_what_the_weighting_gives_token_by_token() -> None:
    log_probs = np.log(np.random.default_rng(3).dirichlet(np.ones(5), size=(7, 3))[:, :, 0])
    settings = WeightingSettings("posterior", top_m=2)
    expected = expert_weights(Signals(np.zeros((8, 3)), np.vstack([log_probs, np.zeros(3)])), settings)
    router = PosteriorRouter(settings, log_probs[:2])
    for place in range(2, 8):
        assert router.weights() == pytest.approx(expected[place])
        if place < 7:
            router.observe("", 0, log_probs[place])
