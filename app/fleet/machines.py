"""The Ray cluster as a fleet sees it: how many runs fit, one run, what the cluster should grow to, a polite stop."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial

from ray.autoscaler.sdk import request_resources
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from app.artifacts.checkpoints import ModelCheckpoints
from app.artifacts.layout import DRIVER, LEASE, RAY_RUNS, STOP
from app.artifacts.lease import is_alive, read_holder
from app.artifacts.store import Folder
from app.config.schema import Config
from app.core.errors import ArtifactError, StorageError
from app.core.records import JsonObject
from app.fleet.capacity import Shortage, grows_unseen, kinds_of_nodes, living_nodes, shortage
from app.fleet.interruption import saves_on_signals
from app.fleet.placement import PlaceGivenBack
from app.fleet.ray_session import training_slots
from app.fleet.worker import Assignment, Work, train_in_worker
from app.training.model_task import ModelTask

log = logging.getLogger(__name__)

# A thread for each run does nothing but wait for it; the pool makes them as they are needed.
_MOST_RUNS_AT_ONCE = 256


class RayMachines:
    """See ``Machines``. ``cpus``: cores of each worker of a run. ``work``: what its workers do."""

    def __init__(
        self, config: Config, run: Folder, cpus: float, pool: ThreadPoolExecutor, work: Work = train_in_worker
    ) -> None:
        self._config, self._run, self._cpus, self._pool, self._work = config, run, cpus, pool, work
        self._workers = config.training.workers_per_expert
        self._stop_reason = ""
        self.is_interrupted = False
        """Whether Ctrl-C was what stopped it."""

    def slots(self) -> int:
        """See Machines."""
        return training_slots(self._config.cluster, living_nodes().values(), self._resources(), self._workers[0])

    def shortage(self) -> Shortage | None:
        """See Machines."""
        return shortage(living_nodes(), kinds_of_nodes(), self._resources(), self._workers[0], grows_unseen())

    def start(self, task: ModelTask) -> Future[JsonObject]:
        """See Machines."""
        return self._pool.submit(self._fit, task)

    def saved_step(self, task: ModelTask) -> int:
        """See Machines; 0 also while the storage is away."""
        with suppress(StorageError):
            return max(ModelCheckpoints(task.stage, 1).steps(), default=0)
        return 0

    def taken_by(self, task: ModelTask) -> str:
        """See Machines; while the storage is away nothing is known of others."""
        with suppress(ArtifactError):
            if not task.stage.exists(LEASE) or task.stage.is_complete:
                return ""
            run = str(task.stage.read_json(LEASE).get("run", ""))
            # One job at a time works at a run: what this one's lease names was an earlier attempt of ours.
            if run and task.store.run(run).uri != self._run.uri:
                holder = read_holder(task.store.run(run), DRIVER)
                return run if holder is not None and is_alive(holder) else ""
        return ""

    def is_stopping(self) -> bool:
        """See Machines; a storage that is away for a moment neither stops anything nor loses a stop."""
        with suppress(StorageError):
            # Not written when it was asked for: that is within a signal handler, and the storage may be slow or away.
            if self._stop_reason and not self._run.exists(STOP):
                self._run.write_json(STOP, {"reason": self._stop_reason})
            return self._run.exists(STOP)
        return bool(self._stop_reason)

    def stop(self, reason: str) -> None:
        """Ask every worker, wherever it is, to save and end at its next step, as soon as that is asked for next."""
        self._stop_reason = reason

    def stop_by_signal(self, number: int) -> None:
        """The same for a signal to the driver."""
        self.is_interrupted = number == signal.SIGINT
        self.stop(f"{signal.Signals(number).name} at the driver")

    def ask_for(self, runs: int) -> None:
        """Tell an autoscaling cluster for how many runs it should have machines; without it, it would never grow.

        To be said again and again: each run of Ray Train overwrites it with its own every 20 s, and machines that are
        lost would not be replaced. Not for more than ``cluster.slots``: a request that the cluster can never meet makes
        it add nothing at all.
        """
        if self._config.cluster.address != "local":
            runs = min(runs, self._config.cluster.slots or runs)
            # For workers and not for runs: a run's workers may be on several machines.
            request_resources(bundles=[self._resources()] * runs * self._workers[0])

    def _resources(self) -> dict[str, float]:
        gpus = self._config.training.gpus_per_expert
        return {"CPU": self._cpus, **({"GPU": gpus} if gpus else {})}

    def _fit(self, task: ModelTask) -> JsonObject:
        """One Ray Train run; what is trained and saved is decided by the task alone.

        With a range of workers, Ray starts as many as there is room for and starts them anew when there is more; they
        go on from the newest checkpoint.
        """
        least, most = self._workers
        scaling = ScalingConfig(
            num_workers=least if least == most else (least, most),
            use_gpu=bool(self._config.training.gpus_per_expert),
            resources_per_worker=self._resources(),
        )
        # Not as a train_loop_config: each run's controller would import models and library only to unpickle that.
        trainer = TorchTrainer(
            partial(self._work, Assignment(task, max(1, int(self._cpus)), self._run)),
            scaling_config=scaling,
            run_config=RunConfig(
                name=task.key,
                storage_path=task.store.folder(RAY_RUNS).uri,
                failure_config=FailureConfig(max_failures=0, max_preemption_failures=0),  # the fleet counts and retries
                callbacks=[PlaceGivenBack()],
            ),
        )
        result: JsonObject = trainer.fit().return_value
        return result


@contextmanager
def ray_machines(
    config: Config, run: Folder, cpus: float | None = None, work: Work = train_in_worker
) -> Iterator[RayMachines]:
    """Machines for runs on workers of ``cpus`` cores (default: the experts'); Ctrl-C and SIGTERM stop them politely."""
    with ThreadPoolExecutor(_MOST_RUNS_AT_ONCE, thread_name_prefix="fleet") as pool:
        machines = RayMachines(config, run, cpus or config.training.cpus_per_expert, pool, work)
        try:
            with saves_on_signals(machines.stop_by_signal):
                yield machines
        finally:
            # What was asked for holds until something else is: the machines would be kept for ever.
            machines.ask_for(0)
