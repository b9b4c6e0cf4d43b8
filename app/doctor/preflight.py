"""Before a long job: in seconds all that would make it fail or wait for ever, at once. The doctor's own checks."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from app.artifacts.store import Store
from app.config.schema import Config
from app.core.errors import NotReady
from app.doctor.checks import DRIVER, Check, machine_checks, node_checks, resource_checks
from app.doctor.examine import probing, seed_needs
from app.doctor.facts import NodeFacts
from app.doctor.ground import ground_checks, untouching_checks
from app.doctor.look import look
from app.fleet.capacity import grows_unseen, kinds_of_nodes, living_nodes
from app.fleet.ray_session import ray_session

log = logging.getLogger(__name__)

_HERE = "this machine"


@contextmanager
def ready(config: Config, store: Store, cuts: bool = True) -> Iterator[None]:
    """Check first; then, of a cluster, stay joined while this is open. Raises NotReady with every failed check.

    cuts: whether the job needs the corpus to be cut; one that does not may run with any k.
    """
    checks = ground_checks(config, store, cuts)
    if config.cluster.address == "local":
        _judge([*checks, *_local_checks(config, store)])
        yield
        return
    # A cluster is joined once: the job's own ray_session finds Ray running and leaves it alone.
    with ray_session(config.cluster):
        _judge([*checks, *_cluster_checks(config, store)])
        yield


def _local_checks(config: Config, store: Store) -> list[Check]:
    """This machine as the only node of the Ray that will be started."""
    with probing(store) as probes:
        machine = look(probes, config.artifacts.cache, os.getpid())
    node = NodeFacts(_HERE, _offered_here(config), machine.began, machine.ended, machine)
    return [*node_checks(config, node, machine, seed_needs(config)), *resource_checks(config, [node], {})]


def foreseen(config: Config, store: Store, cuts: bool = True) -> list[str]:
    """What would stand in the way, as far as it can be known without writing or joining anything.

    cuts: see ``ready``.
    """
    checks = untouching_checks(config, store, cuts)
    if config.cluster.address == "local":
        checks += resource_checks(config, [NodeFacts(_HERE, _offered_here(config), 0.0, 0.0, None)], {})
    return [f"{check.name}: {check.says}" for check in checks if check.state == "failed"]


def _offered_here(config: Config) -> dict[str, float]:
    """What a Ray that is started here will offer."""
    return {"CPU": float(config.cluster.cpus or os.cpu_count() or 1), "GPU": float(torch.cuda.device_count())}


def _cluster_checks(config: Config, store: Store) -> list[Check]:
    """The driver, and what its nodes offer now or could; `jobs.doctor` looks at each node itself."""
    with probing(store) as probes:
        machine = look(probes, config.artifacts.cache, os.getpid())
    nodes = [NodeFacts(name, offered, 0.0, 0.0, None) for name, offered in living_nodes().items()]
    on_driver = machine_checks(config, DRIVER, machine, seed_needs(config))
    return [*on_driver, *resource_checks(config, nodes, kinds_of_nodes(), grows_unseen())]


def _judge(checks: list[Check]) -> None:
    failed = [f"{check.name} ({check.where}): {check.says}" for check in checks if check.state == "failed"]
    for check in checks:
        if check.state == "warning" and check.name == "disk":
            log.warning("ready: disk on %s: %s", check.where, check.says)
    if failed:
        count = "1 thing stands" if len(failed) == 1 else f"{len(failed)} things stand"
        raise NotReady("\n".join([f"nothing was started, {count} in the way:", *(f"  - {line}" for line in failed)]))
    log.info("ready: %d checks passed", sum(check.state == "ok" for check in checks))
