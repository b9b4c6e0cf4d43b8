"""Training a set of models as independent Ray Train runs: several at once where resources allow, the rest queued."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from app.artifacts.store import Folder
from app.config.schema import Config
from app.core.errors import Interrupted, NotTrained, Preempted
from app.core.units import format_count, format_seconds
from app.fleet.board import ProgressBoard
from app.fleet.drive import drive
from app.fleet.fleet import Fleet, plan_fleet
from app.fleet.machines import ray_machines
from app.fleet.ray_session import ray_session
from app.fleet.record import FleetRecord
from app.training.budget import repeated
from app.training.model_task import ModelTask
from app.training.trackers import require_trackers

log = logging.getLogger(__name__)

_REPEATS_WORTH_SAYING = 4.0
"""Up to here text read again teaches nearly as much as new text (arXiv 2305.16264)."""
_NAMED_LANGUAGES = 4


def repetition(task: ModelTask, allowed: float | None = None) -> str:
    """A sentence on the languages whose text the task goes through many times, empty if there are none.

    allowed: the most that the mixture should have needed; a corpus that is too small for the budget needs more.
    """
    budget = task.spec.num_steps * task.spec.tokens_per_step
    found = repeated(task.weights, budget, task.held, _REPEATS_WORTH_SAYING if allowed is None else 1.01 * allowed)
    if not found:
        return ""
    first = [
        f"{lang} is repeated {times:.4g} times ({task.held[lang]:,} tokens)"
        for lang, times in list(found.items())[:_NAMED_LANGUAGES]
    ]
    more = f" and {len(found) - _NAMED_LANGUAGES} more languages" if len(found) > _NAMED_LANGUAGES else ""
    why = "" if allowed is None else f"; corpus.mixture_max_epochs is {allowed:g}: bring more text or lower the budget"
    return f"{task.name}: {', '.join(first)}{more}{why}"


def recorded_name(task: ModelTask, run: str) -> str:
    """What a run's record calls a model: by its own name, or where it is another run's by that too (a sweep's trials
    have each an ``expert-00``).
    """
    return task.name if task.run == run else f"{task.run}/{task.name}"


def train_fleet(
    config: Config,
    tasks: Sequence[ModelTask],
    cpus: float | None = None,
    more: Callable[[Fleet], Sequence[str]] | None = None,
    stops: Folder | None = None,
) -> None:
    """Train every unfinished task, each on ``cpus`` cores (default: the experts'); returns when all are finished.

    more: lines to show beside the models' (see ProgressBoard). stops: where a stop is asked for, if not in the run's
    folder. One that is there ends the training at once: the job removes an old one when it begins.
    A run that fails is started again up to ``training.max_failures`` times while the others go on.
    Raises NotTrained naming those given up, after everything else is done, and Preempted after a stop.
    """
    require_trackers(config.training.trackers)
    # Two tasks with one key are one model.
    unique = {task.key: task for task in tasks}
    work = [(key, task.spec.budget_tokens, task.stage.is_complete) for key, task in unique.items()]
    run = next(iter(unique.values())).store.run(config.run.name)
    names = {key: recorded_name(task, config.run.name) for key, task in unique.items()}
    record = FleetRecord(run, names)
    parents = {key: set(task.parents.values()) for key, task in unique.items()}
    fleet = plan_fleet(work, config.training.max_failures, record.preemptions(), parents)
    record.write(fleet)
    if fleet.is_over:
        return
    for task in unique.values():
        if told := repetition(task, config.corpus.mixture_max_epochs if config.corpus.mixture == "unimax" else None):
            log.warning("train: %s", told)
    started = time.monotonic()
    with ray_session(config.cluster), ray_machines(config, stops or run, cpus) as machines:
        count = sum(not done for *_, done in work)
        log.info("train: %d model%s, at most %d at once", count, "s" * (count != 1), machines.slots())
        with ProgressBoard(list(unique.values()), fleet, more) as board:

            def changed(state: Fleet) -> None:
                board.show(state)
                record.write(state)

            fleet = drive(fleet, unique, machines, changed)
    lost = fleet.given_up()
    told = "; ".join(f"{names[m.key]}{f' after {m.failures} failures' if m.failures else ''}: {m.reason}" for m in lost)
    if not fleet.is_over:
        kind = Interrupted if machines.is_interrupted else Preempted
        before = f"; not trained: {told}" if lost else ""
        raise kind(f"training stopped as asked, everything is saved; run the same command again to continue{before}")
    if lost:
        message = f"not trained: {told}. The others are finished; run the same command again to retry"
        raise NotTrained(message, {m.key: m.reason for m in lost})
    tokens = sum(task.spec.budget_tokens for task in unique.values())
    log.info("train: %s tokens in %s", format_count(tokens), format_seconds(time.monotonic() - started))
