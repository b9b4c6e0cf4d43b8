"""A run's ensemble in memory: everything is found through its record."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from app.allocation.base import Allocator
from app.allocation.storage import load_allocator
from app.artifacts.ensemble import read_ensemble
from app.artifacts.layout import ALLOCATOR, FINAL_MODEL, TOKENIZER
from app.artifacts.store import Store
from app.core.errors import ServingError
from app.core.languages import normalise
from app.core.records import FloatArray, IntArray
from app.core.suggest import unknown_value
from app.core.typed import from_json
from app.ensemble.engine import Engine
from app.ensemble.local_client import LocalClient
from app.ensemble.requests import Request, Update
from app.ensemble.routing import RequestRouter, resolve_weighting
from app.ensemble.rules import WeightingSettings
from app.ensemble.sampling import Sampling
from app.models.causal import CausalLM
from app.models.load import load_model
from app.models.stacked import StackedLM, can_stack, stack_models
from app.tokens.tokenizer import Tokenizer, load_tokenizer
from serve.schema import XelmOptions

MIXTURE = "ensemble"
_LONGEST = 4096
"""Tokens of a text where no model sets a limit."""


@dataclass(frozen=True)
class Generated:
    """A completed text: ``weights`` are the experts' means over its tokens."""

    text: str
    finish_reason: Literal["stop", "length"]
    prompt_tokens: int
    completion_tokens: int
    weights: Mapping[str, float]


@dataclass(frozen=True)
class LoadedEnsemble:
    """Experts in the allocator's order, single models beside them (dense, seed), and how the run mixes.

    shares: language -> weight of each expert before the first token of a request that names it.
    """

    experts: Sequence[CausalLM]
    others: Mapping[str, CausalLM]
    tokenizer: Tokenizer
    allocator: Allocator
    weighting: WeightingSettings
    loaded_at: int
    shares: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def names(self) -> list[str]:
        """What may be asked for as ``model``."""
        return [MIXTURE, *self.allocator.experts, *self.others]

    def complete(
        self, model: str, prompt: str | Sequence[int], sampling: Sampling, stops: Sequence[str], options: XelmOptions
    ) -> Generated:
        """Complete one text; token ids are taken as given, text gets the start token.

        Raises ServingError for an unknown model, impossible ids or too long a prompt, ConfigError or AllocationError
        for options that cannot be met.
        """
        places, names = self._models(model)
        request = Request(
            self._ids(prompt),
            places,
            (lambda tokens: self._router(tokens, options)) if model == MIXTURE else lambda _: _Alone(),
            self.tokenizer.stream,
            sampling,
            stops,
            frozenset({self.tokenizer.end_id}),
        )
        updates = self._updates(request)
        work, finish = updates[-1].work, updates[-1].finish
        assert finish is not None
        mean = np.mean(work.weights, axis=0)
        weights = {name: float(weight) for name, weight in zip(names, mean, strict=True)}
        return Generated("".join(update.text for update in updates), finish, len(request.prompt), work.made, weights)

    @functools.cached_property
    def _engine(self) -> Engine:
        """One request at a time for now, so one slot; made with the first request."""
        together: list[StackedLM | CausalLM] = [stack_models(self.experts)] if can_stack(self.experts) else []
        models = [*(together or self.experts), *self.others.values()]
        contexts = [model.context for model in models if model.context is not None]
        return Engine(LocalClient(models, slots=1, length=min(contexts, default=_LONGEST)))

    def _updates(self, request: Request) -> list[Update]:
        """All that the engine says of a request. Raises what stands in the way of it."""
        self._engine.submit(request)
        updates: list[Update] = []
        while self._engine.load.running or self._engine.load.waiting:
            updates += self._engine.step()
        if updates[-1].error is not None:
            raise updates[-1].error
        return updates

    def _ids(self, prompt: str | Sequence[int]) -> list[int]:
        if isinstance(prompt, str):
            lone = next((i for i, character in enumerate(prompt) if "\ud800" <= character <= "\udfff"), None)
            if lone is not None:
                raise ServingError(f"prompt holds half a surrogate pair at character {lone}; send whole characters")
            return [self.tokenizer.start_id, *self.tokenizer.encode_batch([prompt])[0].tolist()]
        wrong = next((i for i in prompt if not 0 <= i < self.tokenizer.vocab_size), None)
        if wrong is not None or not prompt:
            raise ServingError(
                f"prompt holds {'no token' if wrong is None else f'token id {wrong}'}; ids run from 0 to"
                f" {self.tokenizer.vocab_size - 1}"
            )
        return list(prompt)

    def _models(self, model: str) -> tuple[Sequence[int], Sequence[str]]:
        """The models to run, by their place among the experts and the others, and their names."""
        if model == MIXTURE:
            return range(len(self.experts)), self.allocator.experts
        singles = self.names()[1:]
        if model not in singles:
            raise ServingError(unknown_value("model", model, self.names()))
        return [singles.index(model)], [model]

    def _router(self, tokens: Sequence[int], options: XelmOptions) -> RequestRouter:
        """Who weighs the experts; ``auto`` depends on whether the request names its language."""
        told = options.language is not None
        settings = replace(
            self.weighting,
            name=options.weighting or resolve_weighting(self.weighting.name, self.allocator.unit, told),
            temperature=options.temperature or self.weighting.temperature,
            top_m=self.weighting.top_m if options.top_m is None else options.top_m,
        )
        prior = self.shares.get(normalise(options.language)) if options.language else None
        text, seen = self.tokenizer.decode(tokens), tokens[1:] if tokens[0] == self.tokenizer.start_id else tokens
        return RequestRouter(self.allocator, settings, options.language, text, seen, prior=prior)


class _Alone:
    """The weigher of a single model."""

    needs_scores = False

    def weights(self) -> FloatArray:
        """All of it."""
        return np.ones(1)

    def running(self) -> NDArray[np.bool_]:
        """It always runs."""
        return np.ones(1, dtype=np.bool_)

    def missed(self) -> IntArray:
        """Nothing."""
        return np.zeros(1, dtype=np.int64)

    def catch_up(self, expert: int, log_probs: FloatArray) -> None:
        """Never asked for."""

    def observe(self, text: str, token: int, log_probs: FloatArray) -> None:
        """Nothing changes."""


def load_ensemble(store: Store, run: str) -> LoadedEnsemble:
    """Load the ensemble of a finished run. Raises MissingArtifact naming the job, and other ArtifactErrors."""
    cure = "finish the run first (make demo, or python -m jobs.all) or name another"
    record = read_ensemble(store.run(run), cure)
    by_name = {expert.name: expert.model for expert in record.experts}
    allocator = load_allocator(store.stage("allocation", record.allocation).child(ALLOCATOR).read)
    tokenizer = store.stage("tokenizer", record.tokenizer).local(TOKENIZER)
    return LoadedEnsemble(
        experts=[_model(store, by_name[name]) for name in allocator.experts],
        others={name: _model(store, key) for name, key in record.models.items()},
        tokenizer=load_tokenizer(str(tokenizer)),
        allocator=allocator,
        weighting=from_json(WeightingSettings, record.mixing, f"the ensemble of run {run}: mixing"),
        loaded_at=int(time.time()),
        shares=record.shares,
    )


def _model(store: Store, key: str) -> CausalLM:
    stage = store.stage("model", key)
    stage.manifest()
    return load_model(str(stage.local(FINAL_MODEL))).eval()
