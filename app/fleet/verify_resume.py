"""Proof of exact resume on the user's own configuration: train, train again with a kill -9, compare."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Mapping
from dataclasses import replace

from app.artifacts.layout import FINAL_MODEL, METRICS, stage_folder
from app.artifacts.store import StageFolder, Store
from app.config.schema import Config
from app.core.errors import TrainingError
from app.core.records import JsonObject
from app.fleet.attempt import SECONDS_BETWEEN_LOOKS, Attempt
from app.fleet.control import metrics_rows
from app.lineage.lineage import Lineage
from app.models.causal import WEIGHTS
from app.training.model_task import ModelTask

log = logging.getLogger(__name__)

_STEPS = 60
_LONGEST_SECONDS = 3600.0


def verify_resume(config: Config, store: Store) -> JsonObject:
    """Train the expert with the least work for some steps twice, once killed in the middle; both must be bit-equal.

    By as many workers as the fleet starts at least (``training.workers_per_expert``), on this machine. Both models are
    scratch and are removed. Raises TrainingError if they differ, saying in what; MissingArtifact if
    tokens, allocation or seed are not made yet.
    """
    chosen = min(Lineage(config, store).experts, key=lambda task: task.spec.budget_tokens)
    steps = min(_STEPS, chosen.spec.num_steps)
    spec = replace(
        chosen.spec, budget_tokens=steps * chosen.spec.tokens_per_step, checkpoint_every_steps=max(1, steps // 6)
    )
    threads, workers = max(1, int(config.training.cpus_per_expert)), config.training.workers_per_expert[0]
    quiet, killed = (
        replace(chosen, key=f"{chosen.key}-{name}", name=f"{chosen.name}, {name}", spec=spec, trackers=())
        for name in ("undisturbed", "killed")
    )
    try:
        Attempt(quiet, threads, workers).wait()
        # No seed: each proof kills elsewhere. After a third a checkpoint is saved, and a sixth is left to be killed in.
        first, moment = Attempt(killed, threads, workers), random.randrange(steps // 3, steps - steps // 6)
        at = _kill_in_the_middle(killed, first, moment)
        resumed_from = max(_saved_steps(killed.stage), default=0)
        Attempt(killed, threads, workers).wait()
        trained_by = int(str(killed.stage.manifest().counts["workers"]))
        found = {**compare(quiet.stage, killed.stage), "expert": chosen.name, "steps": steps, "workers": trained_by}
    finally:
        for task in (quiet, killed):
            store.folder("").remove(stage_folder("model", task.key))
    verdict: JsonObject = {**found, "killed_after_step": at, "resumed_from_step": resumed_from}
    if not (found["weights_equal"] and found["losses_equal"]):
        raise TrainingError(f"a killed and resumed run differs from an undisturbed one: {verdict}")
    by = f" by {trained_by} workers" if trained_by > 1 else ""
    text = (
        f"{chosen.name}{by}: killed after step {at} of {steps}, resumed from step {resumed_from}:"
        " final weights and losses are equal, bit for bit"
    )
    return {**verdict, "text": text}


def compare(one: StageFolder, other: StageFolder) -> JsonObject:
    """Whether two finished models have the same bytes, and the same loss at each step that both have logged."""
    losses: list[Mapping[str, object]] = [
        {str(row["step"]): row["loss"] for row in metrics_rows(stage)} for stage in (one, other)
    ]
    # Steps are logged by time, so two runs log different ones.
    both = set(losses[0]) & set(losses[1])
    return {
        "weights_equal": one.read(f"{FINAL_MODEL}/{WEIGHTS}") == other.read(f"{FINAL_MODEL}/{WEIGHTS}"),
        "losses_equal": all(losses[0][step] == losses[1][step] for step in both),
        "losses_compared": len(both),
    }


def _kill_in_the_middle(task: ModelTask, attempt: Attempt, after_step: int) -> int:
    """Kill the attempt once it has saved something and logged a step from ``after_step`` on; returns that step."""
    deadline = time.monotonic() + _LONGEST_SECONDS
    while attempt.is_alive and time.monotonic() < deadline:
        reached = _last_step(task.stage)
        if reached >= after_step and _saved_steps(task.stage):
            attempt.kill()
            log.info("verify_resume: killed after step %d", reached)
            return reached
        time.sleep(SECONDS_BETWEEN_LOOKS)
    attempt.kill()
    raise TrainingError(
        f"{task.name} ended before it could be killed: its steps are too quick to be caught; raise"
        " training.budget_tokens or training.tokens_per_step"
    )


def _last_step(stage: StageFolder) -> int:
    rows = metrics_rows(stage) if stage.exists(METRICS) else []
    return int(str(rows[-1]["step"])) if rows else 0


def _saved_steps(stage: StageFolder) -> list[int]:
    return [int(name[5:]) for name in stage.names() if name.startswith("step-") and name[5:].isdigit()]
