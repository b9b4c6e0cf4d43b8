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

_MODEL, _OPTIMIZER, _PROGRESS, _RNG = "model.safetensors", "optimizer.safetensors", "progress.json", "rng"
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


def capture_state(model: CausalLM, optimizer: torch.optim.Optimizer, progress: Progress) -> State:
    """Copy the state. A tied head is kept once, under its first name."""
    weights = dict(model.named_parameters())
    moments = {
        f"{name}|{moment}": _copied(optimizer.state[weight][moment])
        for name, weight in weights.items()
        for moment in _MOMENTS
        if weight in optimizer.state
    }
    moments[_RNG] = torch.get_rng_state()
    if torch.cuda.is_available():
        moments[f"{_RNG}.cuda"] = torch.cuda.get_rng_state()
    return State({name: _copied(weight) for name, weight in weights.items()}, moments, progress)


def _copied(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().to("cpu", copy=True).contiguous()


def load_state(folder: Path, key: str, model: CausalLM, optimizer: torch.optim.Optimizer) -> Progress:
    """Restore a state in place; returns how far it was.

    Raises CorruptArtifact if the folder belongs to another model.
    """
    progress = Progress(**json.loads((folder / _PROGRESS).read_text()))
    if progress.key != key:
        raise CorruptArtifact(f"{folder} is a checkpoint of model {progress.key}, not of {key}; delete it")
    stored = load_file(folder / _MODEL)
    moments = load_file(folder / _OPTIMIZER)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(stored[name])
            if f"{name}|step" in moments:
                optimizer.state[weight] = {
                    moment: _placed(moments[f"{name}|{moment}"], weight, moment) for moment in _MOMENTS
                }
    torch.set_rng_state(moments[_RNG])
    if torch.cuda.is_available() and f"{_RNG}.cuda" in moments:
        torch.cuda.set_rng_state(moments[f"{_RNG}.cuda"])
    return progress


def _placed(tensor: torch.Tensor, weight: torch.Tensor, moment: str) -> torch.Tensor:
    fused_on_gpu = weight.device.type == "cuda"  # fused AdamW keeps its step count beside the weights
    return tensor.to(weight.device) if moment != "step" or fused_on_gpu else tensor
