"""One try at a model by processes of this machine, to wait for or to kill. Knows nothing of Ray."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from pathlib import Path

import torch
import torch.distributed as dist

from app.core.errors import ConfigError, TrainingError
from app.training.loop import choose_device
from app.training.model_task import ModelTask, run_model_task

SECONDS_BETWEEN_LOOKS = 0.01


class Attempt:
    """Begins at once, with a process for each worker."""

    def __init__(self, task: ModelTask, threads: int, workers: int) -> None:
        """threads: of each worker. Raises ConfigError where workers outnumber this machine's GPUs."""
        if choose_device(task.spec.device).type == "cuda" and torch.cuda.device_count() < workers:
            raise ConfigError(
                f"training.workers_per_expert: {workers} workers need as many GPUs on this machine, which has"
                f" {torch.cuda.device_count()}; verify on one that has them, or with fewer workers"
            )
        self._name, self._meeting = task.name, tempfile.TemporaryDirectory(prefix="xelm-attempt-")
        # A fork would have torch's locks without the threads that hold them, and no CUDA. They meet at a file, since a
        # port may be taken by another program; in a new folder, since torch meets at no file that was used before.
        context, place = multiprocessing.get_context("spawn"), Path(self._meeting.name) / "rendezvous"
        self._processes = [
            context.Process(target=_work, args=(task, threads, rank, workers, place)) for rank in range(workers)
        ]
        for process in self._processes:
            process.start()

    @property
    def is_alive(self) -> bool:
        """Whether every process still runs."""
        return all(process.is_alive() for process in self._processes)

    def wait(self) -> None:
        """Return when all have finished. Raises TrainingError if one failed, after the end of the others."""
        while any(process.is_alive() for process in self._processes):
            # The others may wait for the failed one in a sum for ever.
            if any(process.exitcode for process in self._processes):
                break
            time.sleep(SECONDS_BETWEEN_LOOKS)
        statuses = [process.exitcode for process in self._processes]
        self.kill()
        if failed := [status for status in statuses if status]:
            raise TrainingError(f"{self._name} ended with status {failed[0]}; its error stands above")

    def kill(self) -> None:
        """kill -9 what runs."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.join()
        self._meeting.cleanup()


def _work(task: ModelTask, threads: int, rank: int, workers: int, meeting_place: Path) -> None:
    torch.set_num_threads(threads)
    if workers > 1:
        on_gpus = choose_device(task.spec.device).type == "cuda"
        if on_gpus:
            torch.cuda.set_device(rank)
        # All are on this machine; gloo would else look for its address by the host's name.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        backend = "nccl" if on_gpus else "gloo"
        dist.init_process_group(backend, init_method=f"file://{meeting_place}", rank=rank, world_size=workers)
    run_model_task(task)
    if workers > 1:
        dist.destroy_process_group()
