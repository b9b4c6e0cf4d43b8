"""The price of a mixture: time per token of the ensemble over that of one expert decoded by the same engine.

``price`` is one side of ``benchmarks.serving``, called in a process of its own on one thread. Knows neither Ray nor
pydantic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from app.allocation.random_split import RandomAllocator
from app.core.records import JsonObject
from app.ensemble.client import Feed
from app.ensemble.engine import Engine
from app.ensemble.local_client import LocalClient
from app.ensemble.requests import Request, Weigher, Work
from app.ensemble.routing import RequestRouter
from app.ensemble.rules import WeightingSettings
from app.ensemble.sampling import Sampling
from app.models.stacked import stack_models
from benchmarks.measure import measured
from benchmarks.serving_sides import EXPERTS, FixedWeights, NoText, Set, case_of

CHEAPER = {"posterior_k8": 1.25, "posterior_k8_exact": 2.5, "m2": 1.6, "one_per_token": 1.3}
"""At most so many times the price of one expert."""
_LARGEST_WEIGHT = 0.9
_DRAFTS = 4


@dataclass(frozen=True)
class Way:
    """How a text is made. weigher: of a prompt, given its own expert; is_single: by that expert alone."""

    weigher: Callable[[int, Sequence[int]], Weigher]
    temperature: float = 1.0
    one_expert: bool = False
    is_single: bool = False


def ways() -> dict[str, Way]:
    """Name -> each way that is measured; ``single`` is one expert alone."""
    posterior = _posterior(WeightingSettings())
    exact = _posterior(WeightingSettings(drop_below=0.0))
    two, most, even = _fixed(2, _LARGEST_WEIGHT), _fixed(EXPERTS, _LARGEST_WEIGHT), _fixed(EXPERTS, 1 / EXPERTS)
    return {
        "single": Way(_fixed(1, 1.0), is_single=True),
        "single_greedy": Way(_fixed(1, 1.0), temperature=0.0, is_single=True),
        "posterior_k8": Way(posterior),
        "posterior_k8_exact": Way(exact),
        "m2": Way(two),
        "one_per_token": Way(most, one_expert=True),
        "one_per_token_uniform": Way(even, one_expert=True),
        "posterior_k8_greedy": Way(posterior, temperature=0.0),
        "posterior_k8_exact_greedy": Way(exact, temperature=0.0),
        "m2_greedy": Way(two, temperature=0.0),
    }


def price(case: dict[str, Any], prompts: list[list[int]], owners: list[int]) -> JsonObject:
    """By way: CPU seconds per token without the prompt's, share of the tested drafts that were kept, tokens per cycle,
    and experts' passes and tokens fed per token made. A figure that does not apply is 0."""
    made = case_of(case)
    engine = Engine(LocalClient([stack_models(made.experts())], slots=1, length=made.context))
    found: dict[str, JsonObject] = {}
    for name, way in ways().items():
        _decode(engine, way, prompts[0], owners[0], made.tokens)
        found[name] = _measured(engine, way, prompts, owners, made.tokens)
    return {**found, "pass_of_drafts": _pass_cost(made, prompts[0])}


def _measured(engine: Engine, way: Way, prompts: Sequence[list[int]], owners: Sequence[int], tokens: int) -> JsonObject:
    seconds, works = 0.0, []
    for prompt, owner in zip(prompts, owners, strict=True):
        whole, work = _decode(engine, way, prompt, owner, tokens)
        first, begun = _decode(engine, way, prompt, owner, 1)
        seconds += whole - first
        works.append((work, begun))
    made = len(works) * (tokens - 1)
    tested = sum(work.drafted for work, _ in works)
    cycles = sum(work.cycles - begun.cycles for work, begun in works)
    return {
        "seconds": seconds / made,
        "accepted": sum(work.kept for work, _ in works) / tested if tested else 0.0,
        "tokens_per_cycle": made / cycles if cycles else 0.0,
        "passes_per_token": sum(work.passes - begun.passes for work, begun in works) / made,
        "fed_per_token": sum(work.fed - begun.fed for work, begun in works) / made,
    }


def _decode(engine: Engine, way: Way, prompt: list[int], owner: int, tokens: int) -> tuple[float, Work]:
    """CPU seconds and work of one text."""
    sampling = Sampling(tokens, temperature=way.temperature, seed=1)
    weigher: Callable[[Sequence[int]], Weigher] = lambda seen: way.weigher(owner, seen)  # noqa: E731
    request = Request(prompt, range(EXPERTS), weigher, NoText, sampling, one_expert=way.one_expert)
    work = Work()
    with measured() as usage:
        engine.submit(request)
        while engine.load.running or engine.load.waiting:
            for update in engine.step():
                work = update.work
    return usage.cpu_seconds, replace(work)


def _fixed(m: int, largest: float) -> Callable[[int, Sequence[int]], Weigher]:
    """The text's own expert with the largest weight, the m - 1 after it with equal shares of the rest."""

    def weigher(owner: int, _seen: Sequence[int]) -> Weigher:
        weights = np.zeros(EXPERTS)
        weights[[(owner + step) % EXPERTS for step in range(m)]] = (1 - largest) / max(1, m - 1)
        weights[owner] = largest
        return FixedWeights(weights.tolist())

    return weigher


def _posterior(settings: WeightingSettings) -> Callable[[int, Sequence[int]], Weigher]:
    source = RandomAllocator(tuple(f"expert-{number}" for number in range(EXPERTS)), 0)
    return lambda _owner, seen: RequestRouter(source, settings, None, "", seen[1:])


@torch.inference_mode()
def _pass_cost(made: Set, prompt: list[int]) -> JsonObject:
    """CPU seconds of a pass of one expert over one token and over ``_DRAFTS`` + 1, the prompt in the cache; median."""
    client = LocalClient([stack_models(made.experts())], slots=1, length=made.context)
    client.extend([Feed(0, 0, prompt, 0)])
    seconds: dict[int, list[float]] = {1: [], _DRAFTS + 1: []}
    for _ in range(20):
        for tokens, spent in seconds.items():
            with measured() as usage:
                for _ in range(5):
                    client.extend([Feed(0, 0, prompt[:tokens], len(prompt), rows=tokens)])
            spent.append(usage.cpu_seconds / 5)
    one, several = (float(np.median(spent)) for spent in seconds.values())
    return {"one_token": one, "tokens": _DRAFTS + 1, "several": several, "ratio_of_passes": several / one}
