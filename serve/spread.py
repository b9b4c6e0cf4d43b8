"""Each model a deployment of its own, over replicas and nodes (the placement ``spread``).

For models that do not fit one machine's memory together. The mixers hold no weights: they call the experts, one call to
each that a step needs, and a call carries several tokens (``app.ensemble.remote_client``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from ray import serve
from ray.exceptions import RayTaskError
from ray.serve import Application
from ray.serve.config import RequestRouterConfig
from ray.serve.exceptions import DeploymentUnavailableError, RayServeException
from ray.serve.handle import DeploymentHandle

from app.artifacts.store import Store
from app.core.errors import ServingError, XelmError
from app.ensemble.client import Capacity, Reply
from app.ensemble.expert_host import Ask, ExpertHost
from app.ensemble.local_client import LocalClient
from app.ensemble.remote_client import Gone, RemoteClient, Unreachable
from serve.loading import LONGEST, load_served_model
from serve.lost import LOST

log = logging.getLogger(__name__)
_CALL_S = 60.0
"""A call that takes longer is made again."""
QUIET = {"enable_access_log": False, "log_level": "WARNING"}
"""Of every deployment but the ingress, which logs each request: its calls of the others need no lines. One comes every
few seconds by itself."""
_CALLS = 64
"""Calls that wait at an expert: each caller has one at a time."""
_STICKY = "ray.serve.experimental.consistent_hash_router.ConsistentHashRouter"


class PackedReply(NamedTuple):
    """A Reply as arrays, which Ray hands on through shared memory."""

    rows: NDArray[np.float32]
    scores: NDArray[np.float32]
    drafted: tuple[int, ...]


class Expert:
    """One model (a deployment ``model-…``)."""

    async def __init__(self, root: str, key: str, gpus: float, slots: int, length: int | None) -> None:  # type: ignore[misc]  # Serve awaits it
        """root: artifacts.root; key: of the model's stage; slots: pasts that it keeps; length: tokens of each."""
        try:
            model = load_served_model(Store(root), key, "cuda" if gpus else "cpu")
            longest = min(model.context or LONGEST, LONGEST) if length is None else length
            self._host = ExpertHost(LocalClient([model], slots, longest))
        except XelmError as error:
            log.error("%s", error)
            raise
        self._one_at_a_time = asyncio.Lock()

    async def capacity(self) -> Capacity:
        """What fits."""
        return self._host.capacity

    async def run(self, caller: str, asks: Sequence[Ask]) -> list[PackedReply | None]:
        """See ExpertHost."""
        # A host is not safe for several threads, and Serve begins calls while others run.
        async with self._one_at_a_time:
            replies = await asyncio.to_thread(self._host.run, caller, asks)
        return [
            None if reply is None else PackedReply(reply.rows.cpu().numpy(), reply.scores.numpy(), tuple(reply.drafted))
            for reply in replies
        ]


class HandleLink:
    """A Link over a handle. Calls of one caller go to one replica as long as it lives: the pasts are there."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle

    def send(self, caller: str, asks: Sequence[Ask]) -> Callable[[], list[Reply | None]]:
        """See Link."""
        response = self._handle.options(session_id=caller).run.remote(caller, asks)

        def wait() -> list[Reply | None]:
            try:
                # Blocks, which Ray allows outside an event loop only: this is the engine's thread.
                packed = response.result(timeout_s=_CALL_S)
            # First, because Ray raises an error that is also one of its cause's class, such as TimeoutError.
            except RayTaskError:
                raise  # the expert's own error: the same call would end as this one did
            except DeploymentUnavailableError as error:
                raise Gone from error
            except (*LOST, RayServeException, TimeoutError) as error:
                raise Unreachable from error
            return [None if reply is None else _unpacked(reply) for reply in packed]

        return wait


def _unpacked(reply: PackedReply) -> Reply:
    # Copies: arrays from Ray's shared memory are read-only, and torch has no such tensors.
    return Reply(torch.tensor(reply.rows), torch.tensor(reply.scores), reply.drafted)


async def connect(handles: Mapping[str, DeploymentHandle], slots: int) -> RemoteClient:
    """A client of the models behind the handles, by name; waits until all are loaded.

    slots: texts at once. Raises ServingError for models of several vocabularies.
    """
    found = await asyncio.gather(*(handle.capacity.remote() for handle in handles.values()))
    sizes = sorted({capacity.vocab_size for capacity in found})
    if len(sizes) != 1:
        raise ServingError(f"models with vocabularies of {sizes} tokens cannot be mixed; serve them one by one")
    capacity = Capacity(len(handles), sizes[0], slots, min(capacity.length for capacity in found))
    return RemoteClient([HandleLink(handle) for handle in handles.values()], list(handles), capacity)


def deploy_models(
    store: Store, keys: Mapping[str, str], copies: int, slots: int, length: int | None, cpus: float, gpus: float
) -> dict[str, Application]:
    """Name -> deployment of each model, named by its key too: another version's model is another deployment.

    copies: replicas of each; slots, length: of the pasts that each keeps; cpus, gpus: of each replica.
    """
    strict = {"num_fallback_replicas": 0}  # another replica would have to read the texts again
    router = RequestRouterConfig(request_router_class=_STICKY, request_router_kwargs=strict)
    return {
        name: serve.deployment(Expert)
        .options(
            name=f"model-{name}-{key}",
            num_replicas=copies,
            max_ongoing_requests=_CALLS,
            request_router_config=router,
            logging_config=QUIET,
            ray_actor_options={"num_cpus": cpus, "num_gpus": gpus},
        )
        .bind(store.root, key, gpus, slots, length)
        for name, key in keys.items()
    }
