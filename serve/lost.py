"""What Ray raises where a process or its machine is gone: the same call may be made again, and reach another."""

from __future__ import annotations

from ray.exceptions import (
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayActorError,
    RpcError,
    WorkerCrashedError,
)
from ray.serve.exceptions import ReplicaUnavailableError

LOST = (
    RayActorError,
    WorkerCrashedError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,  # of an actor that Ray ended for its machine's memory; it is no RayActorError
    RpcError,
    ReplicaUnavailableError,
)
