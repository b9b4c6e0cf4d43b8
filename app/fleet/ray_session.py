"""Where Ray starts and stops."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import ray

from app.config.schema import ClusterConfig
from app.fleet.capacity import how_many
from app.fleet.interruption import own_handlers_kept

log = logging.getLogger(__name__)

_DRIVER_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Train notices a finished or dead worker at its next poll; the default of 2 s adds up over many short experts.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
}
WORKER_ENVIRONMENT = {
    # A task or a run takes the cores it was given and no more; training sets its own number of threads.
    "OMP_NUM_THREADS": "1",
    # Every core has a task already: threads within each only made it slower.
    "TOKENIZERS_PARALLELISM": "false",
    # cuBLAS adds in the same order every time only with a workspace of fixed size.
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    # Keep freed memory in the process: mapping and zeroing the logits anew at each step costs 10 to 20 % on CPU.
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
    "MALLOC_TOP_PAD_": "67108864",
}


@contextmanager
def ray_session(cluster: ClusterConfig) -> Iterator[None]:
    """Join or start the cluster for the duration of a job; a Ray that was started here is stopped here.

    A Ray that is started here asks for a token: Ray's default for a new local cluster. ``RAY_AUTH_MODE`` itself can
    only be set before the process starts, since Ray reads it when it is imported.
    """
    # Whoever started it ends it.
    if ray.is_initialized():
        yield
        return
    log.info("ray: %s", "starting here" if cluster.address == "local" else f"joining {cluster.address}")
    for name, value in _DRIVER_ENVIRONMENT.items():
        # Ray reads these when it starts; what the user has set stays.
        os.environ.setdefault(name, value)
    runtime_env = {"env_vars": WORKER_ENVIRONMENT}
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    with own_handlers_kept():
        if cluster.address == "local":
            _ensure_token()
            ray.init(
                address="local",
                num_cpus=cluster.cpus or os.cpu_count(),
                object_store_memory=cluster.object_store_bytes,
                include_dashboard=False,
                runtime_env=runtime_env,
                **quiet,
            )
        else:
            ray.init(address=cluster.address, runtime_env=runtime_env, **quiet)
    context = ray.data.DataContext.get_current()
    # Where there is no terminal they become lines of the log.
    context.enable_progress_bars = False
    try:
        yield
    finally:
        ray.shutdown()


def _ensure_token() -> None:
    """Make the token of a local cluster, readable by its owner only; Ray itself would write it readable by all."""
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return
    path = Path.home() / ".ray" / "auth_token"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileExistsError):
        # One call makes the file with its rights, so nobody reads it in between; of two drivers one makes the token.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(descriptor, secrets.token_hex(32).encode())
        os.close(descriptor)


def training_slots(
    cluster: ClusterConfig, nodes: Iterable[Mapping[str, float]], worker: Mapping[str, float], workers: int
) -> int:
    """How many training runs the nodes hold at once, at most ``cluster.slots`` if that is set.

    worker: what each of the ``workers`` of a run asks for, by Ray's name of the resource.
    """
    slots = how_many(nodes, worker) // workers
    return min(slots, cluster.slots) if cluster.slots else slots
