"""Whether a configuration can run on a cluster, judged from facts alone: each check is one sentence with its cure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from app.config.schema import Config
from app.core.units import format_bytes
from app.doctor.facts import MachineFacts, Needs, NodeFacts
from app.fleet.capacity import Resources, holds, listed

State = Literal["ok", "warning", "failed", "not checked"]

DRIVER = "driver"
_CLOCK_WARNING_SECONDS, _CLOCK_FAILED_SECONDS = 5.0, 900.0
"""Notices of seconds are compared across machines; buckets refuse requests signed a quarter of an hour off."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at, where, and what there is to do."""

    name: str
    where: str
    state: State
    says: str


def machine_checks(config: Config, where: str, machine: MachineFacts, needs: Needs | None) -> list[Check]:
    """Storage and disk, which driver and nodes need alike. needs: None where the seed's size is not known."""
    return [_storage(config, where, machine), *_disk(where, machine, needs)]


def node_checks(config: Config, node: NodeFacts, driver: MachineFacts, needs: Needs | None) -> list[Check]:
    """All of one node; a node without an answer has failed in one line."""
    machine = node.machine
    if machine is None:
        cure = "install this project and its pinned dependencies there, or remove the node"
        return [Check("node", node.name, "failed", f"gives no answer: {node.silence}; {cure}")]
    return [
        _versions(node.name, machine, driver),
        _auth(node.name, machine),
        _ports(node.name, machine),
        *machine_checks(config, node.name, machine, needs),
        *_gpus(config, node, machine, needs),
        *_clock(node, machine),
    ]


def _versions(where: str, machine: MachineFacts, driver: MachineFacts) -> Check:
    wrong = [
        f"{name} {version} where the driver has {driver.versions.get(name)}"
        for name, version in machine.versions.items()
        if version != driver.versions.get(name)
    ]
    if wrong:
        return Check("versions", where, "failed", f"{'; '.join(wrong)}; install the same on both (constraints.txt)")
    return Check("versions", where, "ok", ", ".join(f"{name} {version}" for name, version in machine.versions.items()))


def _auth(where: str, machine: MachineFacts) -> Check:
    if machine.token:
        return Check("auth", where, "ok", "Ray asks for a token")
    cure = "start Ray on every node, and this command, with RAY_AUTH_MODE=token"
    return Check("auth", where, "warning", f"Ray takes work from whoever reaches its ports; {cure}")


def _ports(where: str, machine: MachineFacts) -> Check:
    # Failed even with Ray's token: the token does not guard what was just read without it.
    if opened := [f"{item.process} on port {item.port}" for item in machine.listeners if item.opens]:
        cure = "bind it to 127.0.0.1, or ask for a token (RAY_AUTH_MODE=token) or a key (XELM_API_KEYS)"
        return Check("ports", where, "failed", f"{', '.join(opened)} answers everyone on every interface; {cure}")
    listed = ", ".join(sorted({item.process for item in machine.listeners}))
    if machine.listeners and not machine.token:
        cure = "close them to other machines, or set RAY_AUTH_MODE=token"
        return Check("ports", where, "warning", f"on every interface without a token: {listed}; {cure}")
    closed = f"on every interface, with a token: {listed}" if listed else "nothing of Ray's listens on every interface"
    return Check("ports", where, "ok", closed)


def _storage(config: Config, where: str, machine: MachineFacts) -> Check:
    root, probe = config.artifacts.root, machine.storage
    if probe.problem:
        cure = "give this machine the rights to read, write, list and delete there, and the storage's fsspec package"
        return Check("storage", where, "failed", f"{root} refuses to {probe.problem}; {cure}")
    # All rights but another folder: each machine would write to a disk of its own, and no stage would find its parents.
    if not probe.sees_driver:
        cure = "set artifacts.root to a bucket or to a folder that all machines share"
        return Check("storage", where, "failed", f"{root} here is another folder than the driver's; {cure}")
    return Check("storage", where, "ok", f"{root} can be written, read, listed and deleted from")


def _disk(where: str, machine: MachineFacts, needs: Needs | None) -> Iterator[Check]:
    """Checkpoints are written to the temporary folder and read through the cache."""
    for place, free in sorted(machine.free.items()):
        there = f"{format_bytes(free)} free in {place}"
        if needs is None:
            cure = "download the seed and give its folder as seed.model"
            yield Check("disk", where, "not checked", f"{there}, but the seed's size is not known; {cure}")
            continue
        there = f"{there}, one checkpoint is {format_bytes(needs.checkpoint)}"
        if free < needs.checkpoint:
            cure = "make room, or set TMPDIR and artifacts.cache to a larger disk"
            yield Check("disk", where, "failed", f"{there}; {cure}")
        elif free < 2 * needs.checkpoint:
            yield Check("disk", where, "warning", f"{there}; make room: two runs on this machine would fill it")
        else:
            yield Check("disk", where, "ok", there)


def _gpus(config: Config, node: NodeFacts, machine: MachineFacts, needs: Needs | None) -> Iterator[Check]:
    wanted, offered = config.training.gpus_per_expert, int(node.resources.get("GPU", 0))
    seen = ", ".join(f"{gpu.name} ({format_bytes(gpu.memory)})" for gpu in machine.gpus) or "none"
    if machine.gpu_problem:
        cure = "see nvidia-smi there, and install a torch for its driver"
        yield Check("gpus", node.name, "failed", f"CUDA cannot be used: {machine.gpu_problem}; {cure}")
    elif len(machine.gpus) < offered:
        cure = "install its driver and a torch with CUDA"
        yield Check("gpus", node.name, "failed", f"Ray offers {offered} GPUs, torch sees {len(machine.gpus)}; {cure}")
    elif not machine.gpus or not wanted:
        yield Check("gpus", node.name, "ok", f"{seen}; experts ask for {wanted:g}")
    else:
        yield from _used_gpus(config, node.name, machine, needs, seen)


def _used_gpus(config: Config, where: str, machine: MachineFacts, needs: Needs | None, seen: str) -> Iterator[Check]:
    # Ray may give it any GPU of the node: the smallest decides.
    share, least = config.training.gpus_per_expert, min(gpu.memory for gpu in machine.gpus)
    takes = f"weights, gradients, moments: {format_bytes(needs.worker)} in each worker" if needs else ""
    if needs and needs.worker > share * least:
        cure = "take GPUs with more memory, or training.parallelism=fsdp with training.workers_per_expert=2 or more"
        yield Check("gpus", where, "failed", f"{seen}; {takes}; {cure}")
    elif config.training.precision == "bf16" and not all(gpu.bf16 for gpu in machine.gpus):
        yield Check("gpus", where, "failed", f"{seen}: no bf16 in hardware; set training.precision=auto or fp32")
    elif not machine.cublas:
        cure = "start the job through this project, which sets CUBLAS_WORKSPACE_CONFIG=:4096:8"
        yield Check("gpus", where, "warning", f"{seen}: results differ from run to run; {cure}")
    else:
        yield Check("gpus", where, "ok", f"{seen}; {takes}" if takes else seen)


def _clock(node: NodeFacts, machine: MachineFacts) -> Iterator[Check]:
    """The node looked between two looks at the driver's clock: what lies outside of them is certainly wrong."""
    apart = {"the driver's": max(node.asked - machine.began, machine.ended - node.answered, 0.0)}
    if machine.storage.seconds_ahead is not None:
        apart["the storage's"] = abs(machine.storage.seconds_ahead)
    for other, seconds in apart.items():
        says = f"{seconds:.1f} s from {other}"
        if seconds < _CLOCK_WARNING_SECONDS:
            yield Check("clock", node.name, "ok", f"less than {_CLOCK_WARNING_SECONDS:g} s from {other}")
        else:
            state: State = "warning" if seconds < _CLOCK_FAILED_SECONDS else "failed"
            yield Check("clock", node.name, state, f"{says}; let both take their time from one server (chrony, NTP)")


def resource_checks(
    config: Config, nodes: Sequence[NodeFacts], kinds: Mapping[str, Resources], unseen: bool = False
) -> list[Check]:
    """Whether each demand fits some node that is there, or some kind of node that an autoscaler may add.

    unseen: an autoscaler may add nodes, of kinds that nobody knows; what fits no node is then only a warning.
    """
    return [_fits(what, wanted, nodes, kinds, unseen) for what, wanted in demands(config).items()]


def demands(config: Config) -> dict[str, Resources]:
    """What each thing the jobs start asks of one node."""
    training = config.training
    wanted: dict[str, Resources] = {
        "a corpus task": {"CPU": 1.0},
        "an expert": {"CPU": training.cpus_per_expert, "GPU": training.gpus_per_expert},
    }
    if config.seed.source == "trained":
        wanted["the seed"] = {"CPU": config.seed.cpus, "GPU": training.gpus_per_expert}
    return wanted


def _fits(
    what: str, wanted: Resources, nodes: Sequence[NodeFacts], kinds: Mapping[str, Resources], unseen: bool
) -> Check:
    asked = listed(wanted)
    # Against what nodes offer in all, not what is free now: a busy node will be free again, a small one never grows.
    if place := next((node.name for node in nodes if holds(node.resources, wanted)), None):
        return Check("resources", "cluster", "ok", f"{what} ({asked}) fits node {place}")
    if kind := next((name for name, resources in kinds.items() if holds(resources, wanted)), None):
        return Check(
            "resources", "cluster", "ok", f"{what} ({asked}) fits nodes of the kind {kind}, which can be added"
        )
    if unseen:
        says = f"{what} ({asked}) fits no node that is there; the autoscaler does not say what it can add"
        return Check("resources", "cluster", "warning", says)
    cure = "ask for less (training.cpus_per_expert, training.gpus_per_expert, seed.cpus) or offer larger nodes"
    return Check("resources", "cluster", "failed", f"{what} ({asked}) fits no node and would wait for ever; {cure}")


def table(checks: Sequence[Check]) -> str:
    """One line for each check, and how many did not pass."""
    rows = [(check.state, check.name, check.where, check.says) for check in checks]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    # strict=False: the last column, the sentence, has no width; padding would only lengthen the line.
    lines = ["  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[3]]) for row in rows]
    counted = {state: sum(check.state == state for check in checks) for state in ("failed", "warning", "not checked")}
    return "\n".join([*lines, ", ".join(f"{count} {state}" for state, count in counted.items())])
