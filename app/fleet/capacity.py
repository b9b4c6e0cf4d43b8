"""What a cluster holds and could hold: living nodes, kinds of nodes that can be added, what is missing for a run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray.experimental.internal_kv import _internal_kv_get

Resources = Mapping[str, float]
_STATUS = b"__autoscaling_status"  # ray._private.ray_constants.DEBUG_AUTOSCALING_STATUS, what `ray status` reads
_NOT_LAUNCHED = "node_"
_SHORT_ID = 6
_GRAINS = 10_000
"""Ray counts resources in ten-thousandths."""


@dataclass(frozen=True)
class Shortage:
    """Why nothing can start now. ``can_end``: whether a kind of node that fits can be added."""

    missing: str
    can_end: bool


def living_nodes() -> dict[str, dict[str, float]]:
    """Name -> resources of each node that is alive."""
    return {name: dict(node["Resources"]) for name, node in by_name(ray.nodes()).items()}


def by_name(nodes: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Name -> node, of those of ``ray.nodes()`` that are alive: its host, and as much of its ID as tells them apart."""
    alive = {str(node["NodeID"]): node for node in nodes if node["Alive"]}
    most = max([_SHORT_ID, *map(len, alive)])
    # Ids of Ray's fake cloud all begin alike: cut to six digits, one node would hide the others from the driver.
    digits = next(n for n in range(_SHORT_ID, most + 1) if len({whole[:n] for whole in alive}) == len(alive))
    return {f"{node['NodeManagerHostname']} {whole[:digits]}": node for whole, node in alive.items()}


def kinds_of_nodes() -> dict[str, dict[str, float]]:
    """Kinds of nodes that the cluster's autoscaler may add; none where there is no autoscaler, or one of version 1."""
    known = ray._private.state.state.get_cluster_config()
    groups = known.node_group_configs if known else ()
    return {group.name: dict(group.resources) for group in groups if group.max_count}


def grows_unseen() -> bool:
    """Whether an autoscaler of version 1 runs the cluster (``ray up``): it does not tell which nodes it can add."""
    said = _internal_kv_get(_STATUS)
    return said is not None and launches_nodes(json.loads(said))


def launches_nodes(status: Mapping[str, object]) -> bool:
    """Whether a status is of nodes that an autoscaler launches; where it only counts, a kind is named after a node."""
    report = status.get("autoscaler_report")
    kinds = report.get("active_nodes") if isinstance(report, Mapping) else None
    return any(not str(kind).startswith(_NOT_LAUNCHED) for kind in kinds or ())


def holds(offered: Resources, wanted: Resources) -> bool:
    """Whether a node that offers this can give what is wanted."""
    return all(offered.get(name, 0.0) >= amount for name, amount in wanted.items())


def how_many(nodes: Iterable[Resources], wanted: Resources) -> int:
    """How many workers that want this fit the nodes at once, each on one node."""
    # In Ray's own grains: of floats, 1 // 0.2 is 4.
    asked = {name: max(1, round(amount * _GRAINS)) for name, amount in wanted.items() if amount}
    return sum(min(round(node.get(name, 0.0) * _GRAINS) // amount for name, amount in asked.items()) for node in nodes)


def listed(wanted: Resources) -> str:
    """``2 CPU, 1 GPU``."""
    return ", ".join(f"{amount:g} {name}" for name, amount in wanted.items() if amount)


def shortage(
    nodes: Mapping[str, Resources],
    kinds: Mapping[str, Resources],
    wanted: Resources,
    workers: int,
    unseen: bool = False,
) -> Shortage | None:
    """What is missing for a run of so many workers that each want this; None if it fits. unseen: ``grows_unseen``."""
    fits = how_many(nodes.values(), wanted)
    if fits >= workers:
        return None
    # One that holds a single worker will do: several such nodes can be added.
    kind = next((name for name, resources in kinds.items() if holds(resources, wanted)), None)
    most = {name: max((node.get(name, 0.0) for node in nodes.values()), default=0.0) for name, a in wanted.items() if a}
    run = f"{workers} workers with {listed(wanted)} each" if workers > 1 else listed(wanted)
    there = (
        f"{len(nodes)} nodes hold {fits} of them; the largest has {', '.join(f'{n:g} {k}' for k, n in most.items())}"
    )
    unknown = "which kinds of nodes can be added is not known" if unseen else "no kind of node that fits can be added"
    added = f"nodes of the kind {kind} can be added" if kind else unknown
    return Shortage(f"a run needs {run}; {there}; {added}", kind is not None or unseen)
