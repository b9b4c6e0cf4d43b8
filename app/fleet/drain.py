"""Telling Ray that this node goes: it gets no new work, and the runs on it save and move."""

from __future__ import annotations

import importlib
import logging
import time
from typing import Any

import ray

from app.training.notices import Notice, poll

log = logging.getLogger(__name__)


def watch_node(cloud: str, seconds_between_polls: float, metadata: str | None = None, address: str = "auto") -> Notice:
    """Poll until there is a notice, then drain this node in Ray; returns the notice.

    Ray is joined only then, so the watcher costs nothing while nothing happens.
    """
    while (notice := poll(cloud, metadata)) is None:
        time.sleep(seconds_between_polls)
    log.warning("%s: this node goes in %.0f s (%s)", notice.cloud, notice.deadline - time.time(), notice.reason)
    drain_this_node(address, notice)
    return notice


def drain_this_node(address: str, notice: Notice) -> None:
    """Ask the cluster to drain the node on which this runs, with the notice's deadline."""
    ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    try:
        context = ray.get_runtime_context()
        drain_node(context.gcs_address, context.get_node_id(), notice)
    finally:
        ray.shutdown()


def drain_node(gcs_address: str, node_id: str, notice: Notice) -> None:
    """Drain one node: nothing new is placed on it, and Ray Train tells the runs on it."""
    raylet: Any = importlib.import_module(
        "ray._raylet"
    )  # what the hidden `ray drain-node` calls: there is no public way
    protocol: Any = importlib.import_module("ray.core.generated.autoscaler_pb2")
    reason = protocol.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    client = raylet.GcsClient(address=gcs_address)
    # Ray's deadlines are milliseconds.
    accepted, why = client.drain_node(node_id, reason, notice.reason, int(notice.deadline * 1000))
    if not accepted:
        log.warning("Ray refuses to drain node %s: %s", node_id, why)
