"""A run's ensemble in memory: everything is found through its record, of any version."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

import torch

from app.allocation.base import Allocator
from app.allocation.storage import load_allocator
from app.artifacts.ensemble import read_ensemble
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
_LONGEST = 2048


@dataclass(frozen=True)
class LoadedEnsemble:
    """Experts in the allocator's order, single models beside them (dense, seed), and how the run mixes.

    shares: language -> weight of each expert before the first token of a request that names it. languages: of each
    expert by name. loaded_at: seconds. release: equal for ensembles that give equal texts.
    """

    experts: Sequence[CausalLM]
    others: Mapping[str, CausalLM]
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
        return [MIXTURE, *self.allocator.experts, *self.others]

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
        models = [*self.experts, *self.others.values()]
        limits = [model.context for model in models if model.context is not None]
        longest = min([*limits, _LONGEST]) if length is None else length
        return LocalClient(grouped(models), slots, longest)


def grouped(models: Sequence[CausalLM]) -> list[StackedLM | CausalLM]:
    """The models in order, neighbours of one shape stacked, so that a pass runs several of them at once."""
    groups: list[list[CausalLM]] = []
    for model in models:
        if groups and can_stack([*groups[-1], model]):
            groups[-1].append(model)
        else:
            groups.append([model])
    return [stack_models(group) if len(group) > 1 else group[0] for group in groups]


def load_ensemble(store: Store, run: str, version: int | None = None, device: str = "cpu") -> LoadedEnsemble:
    """Load the ensemble of a finished run, its models onto ``device``; without a version the current one.

    Raises MissingArtifact naming the job, other ArtifactErrors, and ConfigError for a device that is not there.
    """
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        raise ConfigError("serving argument gpus: this machine has no GPU that torch can use; set gpus: 0")
    cure = "finish the run first (make demo, or python -m jobs.all) or name another"
    record = read_ensemble(store.run(run), cure, version)
    by_name = {expert.name: expert.model for expert in record.experts}
    allocator = load_allocator(store.stage("allocation", record.allocation).child(ALLOCATOR).read)
    tokenizer = store.stage("tokenizer", record.tokenizer).local(TOKENIZER)
    return LoadedEnsemble(
        experts=[_model(store, by_name[name], device) for name in allocator.experts],
        others={name: _model(store, key, device) for name, key in record.models.items()},
        tokenizer=load_tokenizer(str(tokenizer)),
        allocator=allocator,
        weighting=from_json(WeightingSettings, record.mixing, f"the ensemble of run {run}: mixing"),
        loaded_at=int(time.time()),
        shares=record.shares,
        languages={expert.name: expert.languages for expert in record.experts},
        run=record.run,
        version=record.version,
        release=digest_json(asdict(record)),
    )


def _model(store: Store, key: str, device: str) -> CausalLM:
    stage = store.stage("model", key)
    stage.manifest()
    return load_model(str(stage.local(FINAL_MODEL))).eval().to(device)
