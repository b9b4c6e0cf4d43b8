"""What is known of a machine and of the cluster before anything is judged: plain records, made on the node itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Listener:
    """A port of Ray's on all interfaces. ``opens``: over HTTP it answers whoever has neither token nor key."""

    process: str
    port: int
    opens: bool


@dataclass(frozen=True)
class StorageProbe:
    """A small file written, read, listed and deleted under ``artifacts.root``.

    problem: the step that failed and why, empty if none did. sees_driver: whether the driver's file is there too.
    seconds_ahead: the storage's clock against this machine's, None where it does not tell.
    """

    problem: str
    sees_driver: bool
    seconds_ahead: float | None


@dataclass(frozen=True)
class Needs:
    """What training asks of a machine, bytes: room for a checkpoint, and memory for a worker beside activations."""

    checkpoint: int
    worker: int


@dataclass(frozen=True)
class Gpu:
    """One GPU as torch sees it; memory in bytes."""

    name: str
    memory: int
    bf16: bool


@dataclass(frozen=True)
class MachineFacts:
    """One machine as it sees itself. began, ended: its clock before and after looking. free: folder -> bytes.

    gpu_problem: why CUDA cannot be used although there is some, empty otherwise. cublas: CUBLAS_WORKSPACE_CONFIG.
    """

    host: str
    began: float
    ended: float
    versions: Mapping[str, str]
    token: bool
    listeners: tuple[Listener, ...]
    storage: StorageProbe
    gpus: tuple[Gpu, ...]
    gpu_problem: str
    cublas: str
    free: Mapping[str, int]


@dataclass(frozen=True)
class NodeFacts:
    """A node as the driver sees it: the resources it offers, and its answer between two looks at the driver's clock.

    machine: None where no answer came; then ``silence`` says why.
    """

    name: str
    resources: Mapping[str, float]
    asked: float
    answered: float
    machine: MachineFacts | None
    silence: str = ""
