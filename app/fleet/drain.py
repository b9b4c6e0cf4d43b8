"""Telling Ray that this node goes: it gets no new work, and the runs on it save and move."""

from __future__ import annotations

import importlib
import logging
import time
from typing import Any

import ray

from app.core.errors import NotReady
from app.training.notices import Notice, poll

log = logging.getLogger(__name__)

_RETRY_SECONDS = 1.0


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
    """Ask the cluster to drain the node on which this runs, with the notice's deadline; again and again until then.

    Ray may just be starting, or its head away. Raises NotReady at the deadline.
    """
    while True:
        try:
            ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
            context = ray.get_runtime_context()
            drain_node(context.gcs_address, context.get_node_id(), notice)
            return
        # Ray raises classes of many kinds, ConnectionError and RuntimeError among them.
        except Exception as error:
            why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            if time.time() + _RETRY_SECONDS > notice.deadline:
                raise NotReady(
                    f"this node goes and is not drained: {why}; what runs on it goes on from its last save"
                ) from error
            log.warning("this node cannot be drained yet: %s", why)
        finally:
            ray.shutdown()
        time.sleep(_RETRY_SECONDS)


def drain_node(gcs_address: str, node_id: str, notice: Notice) -> None:
    """Drain one node: nothing new is placed on it, and Ray Train tells the runs on it. Raises NotReady if refused."""
    raylet: Any = importlib.import_module(
        "ray._raylet"
    )  # what the hidden `ray drain-node` calls: there is no public way
    protocol: Any = importlib.import_module("ray.core.generated.autoscaler_pb2")
    reason = protocol.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    client = raylet.GcsClient(address=gcs_address)
    # Ray's deadlines are milliseconds.
    accepted, why = client.drain_node(node_id, reason, notice.reason, int(notice.deadline * 1000))
    if not accepted:
        raise NotReady(f"Ray refuses to drain node {node_id}: {why}")
