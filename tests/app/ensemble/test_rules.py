from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from app.core.errors import ConfigError
from app.ensemble.engine import Engine
from app.ensemble.local_client import LocalClient
from app.ensemble.requests import Request
from app.ensemble.routing import RequestRouter
from app.ensemble.rules import RULES, WeightingSettings, rule_of
from app.ensemble.sampling import Sampling
from app.ensemble.text_output import Step
from app.ensemble.weights import start_weights
from app.models.architecture import ModelShape
from app.models.causal import CausalLM
from app.models.registry import build_model
from app.models.stacked import stack_models
from tests.support.toy_experts import Letters

INFINITE = math.inf


def weigh(name: str, distances: list[float], temperature: float = 0.1) -> list[float]:
    """Weights before the first token, from distances alone."""
    state = start_weights(WeightingSettings(name, temperature), len(distances), distances=np.array([distances]))
    return state.weights()[0].tolist()


def test_tfidf_is_the_papers_softmax_of_squared_distances() -> None:
    """By hand: exp(-0.25) : exp(-1) with T = 1; a distance that is not squared would give exp(-0.5) : exp(-1)."""
    near, far = math.exp(-0.25), math.exp(-1.0)
    assert weigh("tfidf", [0.5, 1.0], 1.0) == pytest.approx([near / (near + far), far / (near + far)])
    near, far = math.exp(-2.5), math.exp(-10.0)
    assert weigh("tfidf", [0.5, 1.0]) == pytest.approx([near / (near + far), far / (near + far)])


def test_as_coded_is_the_softmax_of_fourth_powers() -> None:
    expected = math.exp(-16) / (math.exp(-16) + math.exp(-1))
    assert weigh("as_coded", [2.0, 1.0], 1.0) == pytest.approx([expected, 1 - expected])


@pytest.mark.parametrize("name", ["tfidf", "as_coded", "product_of_experts"])
def test_an_infinite_distance_has_no_weight(name: str) -> None:
    assert weigh(name, [INFINITE, 0.0]) == [0.0, 1.0] and weigh(name, [0.5, INFINITE]) == [1.0, 0.0]


def test_tiny_temperatures_do_not_overflow() -> None:
    assert weigh("tfidf", [1.0, 1.2, 1.3], 1e-9) == [1.0, 0.0, 0.0]


def test_one_hot_takes_the_nearest_and_the_first_of_equals() -> None:
    assert weigh("one_hot", [0.3, 0.1, 0.1]) == [0.0, 1.0, 0.0]
    assert weigh("one_hot", [INFINITE, INFINITE, 0.0]) == [0.0, 0.0, 1.0]


def test_uniform_looks_at_nothing() -> None:
    assert start_weights(WeightingSettings("uniform"), 4, prior=[1.0, 0, 0, 0]).weights()[0].tolist() == [0.25] * 4


def test_fixed_weights_are_the_prior_normalised() -> None:
    state = start_weights(WeightingSettings("fixed"), 2, prior=[1.0, 3.0])
    assert state.weights()[0] == pytest.approx([0.25, 0.75])
    assert np.array_equal(state.observe().weights(), state.weights())


def test_bayes_is_the_prior_times_the_probability_of_the_last_token_alone() -> None:
    """By hand: 0.25 * 0.8 : 0.75 * 0.2 = 4 : 3, whatever came before."""
    state = start_weights(WeightingSettings("bayes"), 2, prior=[0.25, 0.75])
    state = state.observe(np.log([[0.01, 0.99]])).observe(np.log([[0.8, 0.2]]))
    assert state.weights()[0] == pytest.approx([4 / 7, 3 / 7])


def test_product_of_experts_is_the_weight_by_distance_times_the_probability_of_the_last_token() -> None:
    state = start_weights(WeightingSettings("product_of_experts", 1.0), 2, distances=np.array([[9.0, 1.0]]))
    state = state.observe(np.log([[0.01, 0.99]]), np.array([[0.1, 0.2]]))
    state = state.observe(np.log([[0.8, 0.2]]), np.array([[0.5, 1.0]]))
    near, far = math.exp(-0.25) * 0.8, math.exp(-1.0) * 0.2
    assert state.weights()[0] == pytest.approx([near / (near + far), far / (near + far)])


def test_published_rules_by_the_last_token_ignore_the_posteriors_numbers() -> None:
    settings = WeightingSettings("bayes", power=3.0, forgetting=0.5, drop_below=0.9)
    state = start_weights(settings, 2).observe(np.log([[0.8, 0.2]]))
    assert state.weights()[0] == pytest.approx([0.8, 0.2]) and state.running().all()


def test_an_unknown_rule_is_refused_with_a_near_one() -> None:
    with pytest.raises(ConfigError, match="did you mean 'tfidf'"):
        rule_of(WeightingSettings("tfdif"))


@pytest.mark.parametrize(
    ("field", "value"),
    [("temperature", 0.0), ("power", 0.0), ("forgetting", 1.5), ("drop_below", 1.0), ("rescore_every", -1)],
)
def test_a_number_outside_its_range_is_refused_with_its_name(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{field} is {value}; choose"):
        rule_of(replace(WeightingSettings(), **{field: value}))  # type: ignore[arg-type]  # by name


def test_each_rule_says_what_it_needs() -> None:
    by_distance = {name for name, rule in RULES.items() if rule.needs.distances}
    by_scores = {name for name, rule in RULES.items() if rule.needs.scores}
    assert by_distance == {"one_hot", "tfidf", "as_coded", "product_of_experts"}
    assert by_scores == {"bayes", "product_of_experts", "posterior"}


K, WORDS, CONTEXT = 3, 11, 40
PRIOR = (0.5, 0.2, 0.3)


@functools.cache
def experts() -> list[CausalLM]:
    """Their weights are made larger, so that they differ in what they say."""
    shape = ModelShape("xglm", vocab_size=WORDS, d_model=16, layers=2, heads=2, ffn=24, context=CONTEXT)
    made = [build_model(shape, seed).eval() for seed in range(K)]
    with torch.no_grad():
        for weight in (weight for model in made for weight in model.parameters()):
            weight *= 4
    return made


class ByLetters:
    """Distances that grow with how much of a text is in an expert's own letters: token t is that of expert t mod k."""

    unit, experts = "document", ("a", "b", "c")

    def context(self, _lang: str | None) -> ByLetters:
        """A fresh one."""
        made = ByLetters()
        made.text = ""
        return made

    def extend(self, text: str, _tokens: Sequence[int]) -> None:
        """More text."""
        self.text += text

    def distances(self) -> np.ndarray:
        """(k,)."""
        own = [sum((ord(letter) - ord("a")) % K == e for letter in self.text) for e in range(K)]
        return 0.2 + np.array(own) / (1 + len(self.text))


def by_definition(name: str, tokens: list[int], settings: WeightingSettings) -> list[tuple[list[float], list[float]]]:
    """Weights and the mixture's distribution (V,) of each token but the first: plain loops in float64, no cache."""
    found, shown = [], ByLetters().context(None)
    scored: list[list[float]] = []  # of each token so far, under each expert
    with torch.no_grad():
        rows = [expert.logits(torch.tensor([tokens]))[0].double().softmax(-1).tolist() for expert in experts()]
    for t in range(1, len(tokens)):
        chances = [row[t - 1] for row in rows]
        d = shown.distances()
        raw = []
        for e in range(K):
            base = {
                "uniform": 1.0,
                "one_hot": float(e == min(range(K), key=lambda other: d[other])),
                "tfidf": math.exp(-(d[e] ** 2) / settings.temperature),
                "product_of_experts": math.exp(-(d[e] ** 2) / settings.temperature),
                "as_coded": math.exp(-(d[e] ** 4) / settings.temperature),
            }.get(name, PRIOR[e])
            looked_at = {"bayes": scored[-1:], "product_of_experts": scored[-1:], "posterior": scored}.get(name, [])
            raw.append(base * math.exp(sum(row[e] for row in looked_at)))
        weights = [one / sum(raw) for one in raw]
        found.append(
            (weights, [sum(w * row[v] for w, row in zip(weights, chances, strict=True)) for v in range(WORDS)])
        )
        scored.append([math.log(row[tokens[t]]) for row in chances])
        shown.extend(chr(ord("a") + tokens[t]), [tokens[t]])
    return found


def asked(prompt: list[int], most: int, settings: WeightingSettings, echo: bool = True) -> Request:
    """All of the vocabulary's log-probabilities at each place."""

    def weigher(tokens: Sequence[int]) -> RequestRouter:
        text = "".join(chr(ord("a") + token) for token in tokens[1:])
        return RequestRouter(ByLetters(), settings, None, text, tokens[1:], None, PRIOR)

    sampling = Sampling(most, seed=7)
    return Request(prompt, range(K), weigher, Letters, sampling, logprobs=WORDS, echo=echo)


def through_the_engine(requests: list[Request], slots: int) -> list[list[Step]]:
    engine = Engine(LocalClient([stack_models(experts())], slots, CONTEXT))
    numbers = [engine.submit(request) for request in requests]
    steps: dict[int, list[Step]] = {number: [] for number in numbers}
    while engine.load.running or engine.load.waiting:
        for update in engine.step():
            assert update.error is None
            steps[update.request] += [*update.prompt, *update.steps]
    return [steps[number] for number in numbers]


@pytest.mark.parametrize("name", RULES)
def test_a_rules_distributions_through_the_engine_are_those_of_its_definition(name: str) -> None:
    """Beside other texts and alone, made token by token from caches and read as one prompt."""
    settings = WeightingSettings(name, temperature=0.3, drop_below=0.0)
    random = np.random.default_rng(4)
    prompts = [random.integers(0, WORDS, size=size).tolist() for size in (1, 9)]
    together = through_the_engine([asked(prompt, 8, settings) for prompt in prompts], slots=2)
    texts = [[step.token for step in steps] for steps in together]
    unseen = through_the_engine([asked(prompt, 8, settings, echo=False) for prompt in prompts], slots=1)
    read = through_the_engine([asked(text, 0, settings) for text in texts], slots=1)
    spread = []
    for i, text in enumerate(texts):
        expected = by_definition(name, text, settings)
        spread.append(np.ptp([weights for weights, _ in expected], axis=0).max())
        for steps in (together[i], read[i], unseen[i]):
            known = steps[-len(expected) :]  # without the first token, and without a prompt that is not echoed
            for step, (weights, chances) in zip(known, expected[-len(known) :], strict=True):
                np.testing.assert_allclose(step.weights, weights, atol=1e-5)
                assert step.log_prob == pytest.approx(math.log(chances[step.token]), abs=1e-5)
                by_token = dict(step.top)
                np.testing.assert_allclose([by_token[v] for v in range(WORDS)], np.log(chances), atol=1e-5)
    assert max(spread) > 0.1 or name in ("uniform", "fixed"), "weights that hardly move would prove nothing"
