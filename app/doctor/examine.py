"""Examining a cluster before anything is run on it: every node looks at itself, the driver judges."""

from __future__ import annotations

import logging
import os
import socket
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from app.artifacts.store import Folder, Store
from app.config.schema import Config
from app.core.errors import ConfigError
from app.core.records import JsonObject
from app.doctor.checks import DRIVER, Check, machine_checks, node_checks, resource_checks, table
from app.doctor.facts import MachineFacts, Needs, NodeFacts
from app.doctor.ground import ground_checks
from app.doctor.look import DRIVERS_PROBE, look
from app.fleet.capacity import by_name, grows_unseen, kinds_of_nodes
from app.fleet.ray_session import ray_session
from app.planning.costs import checkpoint_bytes
from app.planning.plan import seed_size, worker_bytes

log = logging.getLogger(__name__)

_SECONDS_TO_CONNECT = 5.0
_SECONDS_TO_ANSWER = 120.0


def examine(config: Config, store: Store) -> JsonObject:
    """All checks as ``checks`` and as ``text``; ``ok`` is false if one failed. What it writes it removes."""
    with probing(store) as probes:
        checks = [*ground_checks(config, store), *_examined(config, probes)]
    listed = [asdict(check) for check in checks]
    return {"ok": all(check.state != "failed" for check in checks), "checks": listed, "text": table(checks)}


@contextmanager
def probing(store: Store) -> Iterator[Folder]:
    """A folder in the store for probe files, with the driver's in it; gone afterwards."""
    probes = store.folder(f"doctor-{uuid.uuid4().hex[:12]}")
    with suppress(Exception):  # a storage without rights shows in the driver's own probe
        probes.write(DRIVERS_PROBE, b"may be deleted")
    try:
        yield probes
    finally:
        with suppress(Exception):  # storage that cannot delete has been reported as such
            store.folder("").remove(probes.uri.rpartition("/")[2])


def _examined(config: Config, probes: Folder) -> list[Check]:
    # Before Ray is joined: where that fails, what is wrong with the driver is in the table all the same.
    driver, needs = look(probes, config.artifacts.cache, os.getpid()), seed_needs(config)
    # A local Ray has one node, this machine; its own checks would only be doubled.
    checks = [] if config.cluster.address == "local" else machine_checks(config, DRIVER, driver, needs)
    try:
        _reach(config.cluster.address)
        with ray_session(config.cluster):
            nodes, kinds, unseen = _ask_nodes(probes, config.artifacts.cache), kinds_of_nodes(), grows_unseen()
    except Exception as error:  # Ray has no common base for what can go wrong when it is joined
        cure = "see cluster.address, `ray status`, RAY_AUTH_MODE and the token; versions must be the same on both sides"
        said = " ".join(str(error).split()) or type(error).__name__
        return [*checks, Check("cluster", config.cluster.address, "failed", f"cannot be joined: {said}; {cure}")]
    for node in nodes:
        checks += node_checks(config, node, driver, needs)
    return [*checks, *resource_checks(config, nodes, kinds, unseen)]


def _reach(address: str) -> None:
    """Raise OSError for a ``host:port`` where nothing listens: Ray itself would try for a minute."""
    host, _, port = address.rpartition(":")
    if host and "/" not in address and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), _SECONDS_TO_CONNECT).close()


def _ask_nodes(probes: Folder, cache: str) -> list[NodeFacts]:
    """Every living node's facts, or why it has none to give."""
    # No CPU, so that a busy node answers too; no retry, since a node that died has answered. max_calls ends the worker
    # after its look: a CUDA context that lived on would hold GPU memory.
    remote = ray.remote(num_cpus=0, max_calls=1, max_retries=0, runtime_env={"env_vars": _ALL_GPUS})(look)
    nodes = by_name(ray.nodes())
    asked = time.time()
    # soft=False: on another node the task would describe the wrong machine.
    answers = [
        remote.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
            probes, cache
        )
        for node in nodes.values()
    ]
    return [
        _answered(name, node["Resources"], asked, answer)
        for (name, node), answer in zip(nodes.items(), answers, strict=True)
    ]


_ALL_GPUS = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
"""Where this is 1, Ray hides every GPU from a task that asks for none; asking for one would wait for a busy one."""


def _answered(name: str, resources: Mapping[str, float], asked: float, answer: ray.ObjectRef) -> NodeFacts:
    try:
        # One deadline for all nodes: many stuck ones take hardly longer than one.
        machine: MachineFacts = ray.get(answer, timeout=max(1.0, asked + _SECONDS_TO_ANSWER - time.time()))
    except Exception as error:  # the project is not there, another version, a dead or a stuck node
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return NodeFacts(name, resources, asked, time.time(), None, lines[-1] if lines else type(error).__name__)
    return NodeFacts(name, resources, asked, time.time(), machine)


def seed_needs(config: Config) -> Needs | None:
    """What training the seed asks of a machine; None where nothing at hand tells its size."""
    with suppress(ConfigError):
        size = seed_size(config)
        return Needs(checkpoint_bytes(size.parameters), worker_bytes(config, size))
    return None
