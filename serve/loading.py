"""A run's ensemble: everything is found through its record, of any version; the models in memory or elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

import torch

from app.allocation.base import Allocator
from app.allocation.storage import load_allocator
from app.artifacts.ensemble import EnsembleRecord, read_ensemble
from app.artifacts.keys import digest_json
from app.artifacts.layout import ALLOCATOR, FINAL_MODEL, TOKENIZER
from app.artifacts.store import Store
from app.core.errors import ConfigError, ServingError
from app.core.suggest import unknown_value
from app.core.typed import from_json
from app.ensemble.local_client import LocalClient
from app.ensemble.rules import WeightingSettings
from app.models.causal import CausalLM
from app.models.load import load_model
from app.models.stacked import StackedLM, can_stack, stack_models
from app.tokens.tokenizer import Tokenizer, load_tokenizer

MIXTURE = "ensemble"
LONGEST = 2048
"""Tokens of a text, where a model allows more and nothing else is asked for."""


@dataclass(frozen=True)
class LoadedEnsemble:
    """Experts in the allocator's order, single models beside them (dense, seed) by name, and how the run mixes.

    models: all of them by name, in the order of ``names``; none where they are elsewhere (``serve.spread``). shares:
    language -> weight of each expert before the first token of a request that names it. languages: of each expert by
    name. loaded_at: seconds. release: equal for ensembles that give equal texts.
    """

    singles: Sequence[str]
    models: Mapping[str, CausalLM]
    tokenizer: Tokenizer
    allocator: Allocator
    weighting: WeightingSettings
    loaded_at: int
    shares: Mapping[str, Sequence[float]] = field(default_factory=dict)
    languages: Mapping[str, Sequence[str]] = field(default_factory=dict)
    run: str = ""
    version: int = 0
    release: str = ""

    def names(self) -> list[str]:
        """What may be asked for as ``model``."""
        return [MIXTURE, *self.allocator.experts, *self.singles]

    def spoken(self) -> frozenset[str]:
        """Codes of the languages that the experts were trained on, as far as the run's record says."""
        return frozenset({*self.shares, *(lang for langs in self.languages.values() for lang in langs)})

    def place(self, model: str) -> int:
        """The place of a single model among the client's. Raises ServingError for an unknown one."""
        singles = self.names()[1:]
        if model not in singles:
            raise ServingError(unknown_value("model", model, self.names()))
        return singles.index(model)

    def client(self, slots: int, length: int | None = None) -> LocalClient:
        """All models behind the engine's interface, the experts first; see ``LocalClient`` for what it raises.

        slots: texts at once; length: tokens of a text, else what the models allow, at most 2048.
        """
        models = list(self.models.values())
        limits = [model.context for model in models if model.context is not None]
        longest = min([*limits, LONGEST]) if length is None else length
        return LocalClient(grouped(models), slots, longest)


def grouped(models: Sequence[CausalLM]) -> list[StackedLM | CausalLM]:
    """The models in order, neighbours of one shape stacked, so that a pass runs several of them at once."""
    groups: list[list[CausalLM]] = []
    for model in models:
        # Neighbours alone: a client's experts are known by their places, so the order has to stay.
        if groups and can_stack([*groups[-1], model]):
            groups[-1].append(model)
        else:
            groups.append([model])
    return [stack_models(group) if len(group) > 1 else group[0] for group in groups]


def record_of(store: Store, run: str, version: int | None = None) -> EnsembleRecord:
    """What a finished run's ensemble consists of; without a version the current one.

    Raises MissingArtifact naming the job, and other ArtifactErrors.
    """
    cure = "finish the run first (make demo, or python -m jobs.all) or name another"
    return read_ensemble(store.run(run), cure, version)


def keys_of_models(store: Store, record: EnsembleRecord) -> dict[str, str]:
    """Name -> key of the stage of every model, the experts first, in the allocator's order."""
    by_name = {expert.name: expert.model for expert in record.experts}
    return {**{name: by_name[name] for name in _allocator(store, record).experts}, **record.models}


def load_served_model(store: Store, key: str, device: str) -> CausalLM:
    """One model, onto ``device``. Raises ArtifactErrors, and ConfigError for a device that is not there."""
    _require_device(device)
    stage = store.stage("model", key)
    stage.manifest()  # raises for a stage that is not complete, and names the cure
    return load_model(str(stage.local(FINAL_MODEL))).eval().to(device)


def load_ensemble(store: Store, run: str, version: int | None = None, device: str | None = "cpu") -> LoadedEnsemble:
    """Load the ensemble of a finished run, its models onto ``device``, or none of them where that is None.

    Raises as ``record_of`` and ``load_served_model`` do.
    """
    # Here too, so that it is said before the record and the tokenizer are fetched.
    if device is not None:
        _require_device(device)
    record = record_of(store, run, version)
    keys = keys_of_models(store, record)
    tokenizer = store.stage("tokenizer", record.tokenizer).local(TOKENIZER)
    return LoadedEnsemble(
        singles=tuple(record.models),
        models={} if device is None else {name: load_served_model(store, key, device) for name, key in keys.items()},
        tokenizer=load_tokenizer(str(tokenizer)),
        allocator=_allocator(store, record),
        weighting=from_json(WeightingSettings, record.mixing, f"the ensemble of run {run}: mixing"),
        loaded_at=int(time.time()),
        shares=record.start,
        languages={expert.name: expert.languages for expert in record.experts},
        run=record.run,
        version=record.version,
        # The record names every stage by its key, and a key stands for what the stage holds.
        release=digest_json(asdict(record)),
    )


def _require_device(device: str) -> None:
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        raise ConfigError("serving argument gpus: this machine has no GPU that torch can use; set gpus: 0")


def _allocator(store: Store, record: EnsembleRecord) -> Allocator:
    return load_allocator(store.stage("allocation", record.allocation).child(ALLOCATOR).read)
