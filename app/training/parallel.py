"""One model on several workers: who reads which rows, what is summed over them, who saves. Knows nothing of Ray.

All workers take the same steps. Worker 0 leads: it alone reads and writes checkpoints, logs and publishes, and what it
finds or fails with is shared, so that no worker waits for one that has given up.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

import torch
import torch.distributed as dist

from app.core.errors import XelmError
from app.models.causal import CausalLM
from app.training.hooks import StopRequest

T = TypeVar("T")

Parallelism = Literal["data", "fsdp"]


class Workers(Protocol):
    """The workers of one model, as one of them sees them; ``rank`` 0 to ``count`` - 1."""

    @property
    def rank(self) -> int:
        """This worker's number."""

    @property
    def count(self) -> int:
        """How many there are."""

    @property
    def device(self) -> torch.device:
        """Where this worker computes."""

    def place(self, model: CausalLM) -> None:
        """Bring the model, in place, to where and how it is trained; before the optimizer is made."""

    def shared(self, make: Callable[[], T]) -> T:
        """What worker 0 makes, on every worker; picklable. Raises everywhere the XelmError that worker 0 fails with."""

    def stopping(self, stop: StopRequest) -> bool:
        """Whether any worker was asked to stop; then all are, by the earliest deadline."""

    def add_up(self, model: CausalLM, loss: torch.Tensor) -> torch.Tensor:
        """Sum the gradients over the workers, in place, and return the sum of their losses."""

    def spread(self, stored: torch.Tensor | None, like: torch.Tensor) -> torch.Tensor:
        """Worker 0's tensor on every worker, placed and cut as ``like``; the others' ``stored`` is not looked at."""


@dataclass(frozen=True)
class Alone:
    """One worker: nothing to agree about."""

    device: torch.device
    rank: int = 0
    count: int = 1

    def place(self, model: CausalLM) -> None:
        """See Workers."""
        model.to(self.device)

    def shared(self, make: Callable[[], T]) -> T:
        """See Workers."""
        return make()

    def stopping(self, stop: StopRequest) -> bool:
        """See Workers."""
        return stop.is_asked

    def add_up(self, model: CausalLM, loss: torch.Tensor) -> torch.Tensor:
        """See Workers."""
        return loss

    def spread(self, stored: torch.Tensor | None, like: torch.Tensor) -> torch.Tensor:
        """See Workers."""
        assert stored is not None
        return stored


class _Together(ABC):
    """What several workers do alike; torch's process group is open."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.rank, self.count = device, dist.get_rank(), dist.get_world_size()

    @abstractmethod
    def place(self, model: CausalLM) -> None:
        """See Workers."""

    def shared(self, make: Callable[[], T]) -> T:
        """See Workers."""
        answer: list[Any] = [None, None]
        if self.rank == 0:
            try:
                answer[0] = make()
            except XelmError as error:
                answer[1] = error
        dist.broadcast_object_list(answer)
        made, failure = answer
        if failure is not None:
            raise failure
        result: T = made
        return result

    def stopping(self, stop: StopRequest) -> bool:
        """See Workers."""
        # float64: Unix time in float32 goes in steps of two minutes.
        asked = torch.tensor(float(stop.is_asked), dtype=torch.float64, device=self.device)
        deadline = torch.tensor(stop.deadline, dtype=torch.float64, device=self.device)
        dist.all_reduce(asked, dist.ReduceOp.MAX)
        if not asked:
            return False
        # All have the same answer from the line above, so all come here: steps without a stop pay for one sum only.
        dist.all_reduce(deadline, dist.ReduceOp.MIN)
        stop.ask_too(float(deadline))
        return True

    def add_up(self, model: CausalLM, loss: torch.Tensor) -> torch.Tensor:
        """See Workers."""
        dist.all_reduce(loss)
        return loss

    def spread(self, stored: torch.Tensor | None, like: torch.Tensor) -> torch.Tensor:
        """See Workers."""
        tensor = torch.empty(like.shape, dtype=like.dtype) if stored is None else stored
        tensor = tensor.to(self.device)
        dist.broadcast(tensor, 0)
        return tensor


class DataParallel(_Together):
    """Every worker holds the whole model; each tensor's gradient is summed after the last micro-batch."""

    def place(self, model: CausalLM) -> None:
        """See Workers. All start from worker 0's weights: other processors may draw other last bits."""
        model.to(self.device)
        for weight in model.parameters():
            dist.broadcast(weight.data, 0)

    def add_up(self, model: CausalLM, loss: torch.Tensor) -> torch.Tensor:
        """See Workers."""
        # Not torch's DistributedDataParallel: it takes the mean over workers, while losses here are weighted by rows.
        gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
        for sent in [dist.all_reduce(gradient, async_op=True) for gradient in gradients]:
            sent.wait()
        return super().add_up(model, loss)


class Sharded(_Together):
    """Each worker holds its part of every weight, gradient and moment (FSDP); layers are put together as needed."""

    def place(self, model: CausalLM) -> None:
        """See Workers. A layer at a time, so that no device ever holds the whole model."""
        # Half a second of imports that only this needs.
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

        mesh = init_device_mesh(self.device.type, (self.count,))
        # The model last: it takes what the layers have left, embeddings and head, and as the root keeps it together
        # after the pass, when the loss reads the head.
        for part in (*model.layers, model):
            sharded = fully_shard(part, mesh=mesh)
            # Losses are weighted by rows, so gradients are summed; gloo knows no other way to say it.
            sharded.set_gradient_divide_factor(1.0)
            sharded.set_force_sum_reduction_for_comms(True)
        # The loss calls `hidden`; by itself FSDP puts weights together for `forward` alone.
        register_fsdp_forward_method(model, "hidden")

    def spread(self, stored: torch.Tensor | None, like: torch.Tensor) -> torch.Tensor:
        """See Workers."""
        from torch.distributed.tensor import DTensor, distribute_tensor

        if not isinstance(like, DTensor):
            return super().spread(stored, like)
        whole_one = torch.empty(like.shape, dtype=like.dtype) if stored is None else stored
        # It sends worker 0's data; what the others bring only has to have the shape.
        return distribute_tensor(whole_one.to(self.device), like.device_mesh, like.placements)


def open_workers(parallelism: Parallelism, device: torch.device) -> Workers:
    """The workers of this process's group; one alone where no group is open."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return Alone(device)
    return Sharded(device) if parallelism == "fsdp" else DataParallel(device)


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """All of a tensor, which may be spread over the workers; then every worker has to ask for it."""
    gather: Callable[[], torch.Tensor] | None = getattr(tensor, "full_tensor", None)
    return tensor if gather is None else gather()


def kept_on(workers: Workers) -> str:
    """Where gathered tensors go: worker 0 keeps them, the others only take part in the gathering."""
    return "cpu" if workers.rank == 0 else "meta"


@torch.no_grad()
def gathered(model: CausalLM, workers: Workers, make: Callable[[], CausalLM]) -> CausalLM:
    """The model with whole weights, on worker 0: itself, or where it is sharded a new one from ``make``."""
    if not isinstance(workers, Sharded):
        return model
    weights = {name: whole(weight).to(kept_on(workers)) for name, weight in model.named_parameters()}
    if workers.rank:
        return model
    plain = make()
    for name, weight in plain.named_parameters():
        weight.copy_(weights[name])
    return plain


def share(rows: int, rank: int, count: int) -> tuple[int, int]:
    """First and last + 1 of the rows of a step that worker ``rank`` of ``count`` reads.

    All shares in order of rank are all rows in order, for any count; they differ by one row at most.
    """
    return rows * rank // count, rows * (rank + 1) // count
