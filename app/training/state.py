"""The whole state of a training run, to and from a folder: safetensors and JSON, never pickle.

``(step, tokens_seen, model, optimizer, rng)``: the schedule and the batches are functions of the step.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from app.core.errors import CorruptArtifact
from app.models.causal import CausalLM
from app.training.parallel import Workers, whole

_MODEL, _OPTIMIZER, _PROGRESS, _RNG = "model.safetensors", "optimizer.safetensors", "progress.json", "rng"
_CUDA_RNG = f"{_RNG}.cuda"
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass(frozen=True)
class Progress:
    """How far a run is; ``loss`` is the last step's."""

    key: str
    step: int
    tokens_seen: int
    loss: float


@dataclass(frozen=True)
class State:
    """A copy of the whole state in main memory: training may go on while it is written."""

    weights: dict[str, torch.Tensor]
    moments: dict[str, torch.Tensor]
    progress: Progress

    def write(self, folder: Path) -> None:
        """Write the state into an existing empty folder."""
        save_file(self.weights, folder / _MODEL)
        save_file(self.moments, folder / _OPTIMIZER)
        (folder / _PROGRESS).write_text(json.dumps(asdict(self.progress)))


def capture_state(model: CausalLM, optimizer: torch.optim.Optimizer, progress: Progress, place: str = "cpu") -> State:
    """Copy the state, whole also where it is spread over workers. A tied head is kept once, under its first name.

    place: ``meta`` on workers that take part in gathering it and keep nothing.
    """
    weights = dict(model.named_parameters())
    moments = {
        f"{name}|{moment}": _copied(optimizer.state[weight][moment], place)
        for name, weight in weights.items()
        for moment in _MOMENTS
        if weight in optimizer.state
    }
    moments[_RNG] = torch.get_rng_state()
    if torch.cuda.is_available():
        moments[_CUDA_RNG] = torch.cuda.get_rng_state()
    return State({name: _copied(weight, place) for name, weight in weights.items()}, moments, progress)


def _copied(tensor: torch.Tensor, place: str) -> torch.Tensor:
    # A copy: on a CPU `to` alone gives the tensor that the next steps change. safetensors takes contiguous ones only.
    return whole(tensor).detach().to(place, copy=True).contiguous()


def load_state(folder: Path, key: str, model: CausalLM, optimizer: torch.optim.Optimizer, workers: Workers) -> Progress:
    """Restore a state in place on every worker; returns how far it was. Worker 0 alone reads the folder.

    Raises CorruptArtifact if the folder belongs to another model.
    """
    weights: dict[str, torch.Tensor] = {}
    moments: dict[str, torch.Tensor] = {}

    def read() -> tuple[Progress, set[str], dict[str, torch.Tensor]]:
        progress = Progress(**json.loads((folder / _PROGRESS).read_text()))
        if progress.key != key:
            raise CorruptArtifact(f"{folder} is a checkpoint of model {progress.key}, not of {key}; delete it")
        weights.update(load_file(folder / _MODEL))
        moments.update(load_file(folder / _OPTIMIZER))
        return progress, set(moments), {name: moments[name] for name in (_RNG, _CUDA_RNG) if name in moments}

    # Small things go as objects, tensors one at a time below: no worker but the first holds all moments at once.
    progress, names, generators = workers.shared(read)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(workers.spread(weights.get(name), weight))
            # Frozen weights have no moments, nor has any before the first step.
            if f"{name}|step" in names:
                optimizer.state[weight] = {
                    moment: _restored(moments.get(f"{name}|{moment}"), weight, moment, workers) for moment in _MOMENTS
                }
    torch.set_rng_state(generators[_RNG])
    if torch.cuda.is_available() and _CUDA_RNG in generators:
        torch.cuda.set_rng_state(generators[_CUDA_RNG])
    return progress


def _restored(stored: torch.Tensor | None, weight: torch.Tensor, moment: str, workers: Workers) -> torch.Tensor:
    if moment != "step":
        return workers.spread(stored, weight).to(weight.device)
    count = workers.spread(stored, torch.zeros(()))
    # fused AdamW keeps its step count beside the weights on a GPU, and in main memory otherwise
    return count.to(weight.device if weight.device.type == "cuda" else "cpu")
