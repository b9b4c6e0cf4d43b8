"""A sweep: what the trials share is made once, their models are one fleet, and Ray Tune evaluates each.

Every trial is a run of its own, made of the same stages under another configuration. So all that two of them share has
one key and is made once, and a sweep that was interrupted goes on when the same command is typed again.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ray import tune

from app.artifacts.layout import STOP
from app.artifacts.lease import held
from app.artifacts.store import Folder, Store
from app.config.load import resolved
from app.config.schema import Config
from app.core.errors import ConfigError, Interrupted, NotTrained, Preempted, StorageError, TrainingError
from app.core.records import JsonObject
from app.fleet.control import obey_stop
from app.fleet.fleet import Fleet
from app.fleet.interruption import saves_on_signals
from app.fleet.ray_session import ray_session
from app.fleet.run_fleet import train_fleet
from app.lineage.lineage import Lineage
from app.lineage.runs import record
from app.lineage.tasks import unique
from app.pipelines.allocate import make_allocation
from app.pipelines.seed import make_seed, seed_cpus, seed_training
from app.pipelines.shard import make_shards
from app.pipelines.tokenize import make_tokens
from app.training.model_task import ModelTask
from tune.board import TrialBoard
from tune.figures import LEAST
from tune.space import Outcome, Setting, Trial, axes_of, grid, planned_settings, trial_of
from tune.tuning import GIVEN_UP, Driver, Told, chosen_trial, fail, named_trial, tuned

log = logging.getLogger(__name__)

LEASE = "sweep.json"
"""Sweeps over one store take turns: the second finds what the first has trained."""
Needs = Mapping[str, Sequence[ModelTask]]
"""Trial -> what is to be trained for it."""


def run_sweep(config: Config, store: Store) -> list[Outcome]:
    """Run every trial; those that fail are told and do not stop the others.

    Raises ConfigError for a sweep that tries nothing, or what does not exist, and Preempted after a stop: the same
    command goes on.
    """
    # What the configuration refuses is said before anything is made.
    if config.sweep.searcher == "optuna":
        # Of all that it may choose, which may be more than memory holds at once.
        for settings in grid(axes_of(config)):
            trial_of(config, settings)
        return _alone(config, store, partial(_searched, config, store))
    return run_trials(config, store, [trial_of(config, settings) for settings in planned_settings(config)])


def run_trials(config: Config, store: Store, trials: Sequence[Trial]) -> list[Outcome]:
    """Run these trials, as ``run_sweep`` does. Raises Preempted after a stop: the same command goes on."""

    def work() -> list[Outcome]:
        outcomes = [Outcome(trial) for trial in trials]
        board = TrialBoard(outcomes)
        _train_together(config, outcomes, store, board)
        _evaluate(config, outcomes, store, board)
        return outcomes

    return _alone(config, store, work)


def _alone(config: Config, store: Store, work: Callable[[], list[Outcome]]) -> list[Outcome]:
    """What the work gives; no other sweep over the store runs meanwhile."""
    with held(store.folder(""), LEASE, "tune.sweep"), ray_session(config.cluster):
        # The same command tries again what it gave up.
        store.run(config.run.name).remove(GIVEN_UP)
        outcomes = work()
    if stopped := [outcome.trial.name for outcome in outcomes if outcome.status == "stopped"]:
        raise Preempted(f"the sweep was stopped before {stopped[0]} was finished; the same command goes on")
    return outcomes


def _train_together(config: Config, outcomes: Sequence[Outcome], store: Store, board: TrialBoard) -> None:
    """Every stage before training, then all seeds of all trials as one fleet and all other models as one, each once."""
    stops = store.run(config.run.name)
    lineages = {outcome.trial.name: Lineage(outcome.trial.config, store, stops) for outcome in outcomes}
    seeds = _needed(outcomes, lineages, _seed_of, stops)
    _train(config, outcomes, seeds, stops, cpus=seed_cpus(config))
    models = _needed(outcomes, lineages, _models_of, stops)
    for trial, tasks in models.items():
        board.needs(trial, [task.key for task in tasks])
    _train(config, outcomes, models, stops, more=board.lines)


def _needed(
    outcomes: Sequence[Outcome],
    lineages: Mapping[str, Lineage],
    make: Callable[[Lineage], list[ModelTask]],
    stops: Folder,
) -> dict[str, list[ModelTask]]:
    """What ``make`` says of each trial that has not failed; a trial for which it raises has."""
    needs = {}
    for number, outcome in enumerate(outcomes, 1):
        if outcome.status == "failed":
            continue
        obey_stop(stops)
        log.info("sweep: trial %d of %d, %s", number, len(outcomes), outcome.trial.name)
        try:
            needs[outcome.trial.name] = make(lineages[outcome.trial.name])
        except (Preempted, StorageError):  # of the whole sweep, and no failure of this trial
            raise
        except Exception as error:  # whatever a library raises for one trial's settings is that trial's alone
            fail(outcome, str(error) or type(error).__name__)
    return needs


def _seed_of(lineage: Lineage) -> list[ModelTask]:
    record(lineage, make_shards(lineage))
    return seed_training(lineage)


def _models_of(lineage: Lineage) -> list[ModelTask]:
    for make in (make_seed, make_tokens, make_allocation):
        record(lineage, make(lineage))
    return [*lineage.baselines, *lineage.experts]


def _train(
    config: Config,
    outcomes: Sequence[Outcome],
    needs: Needs,
    stops: Folder,
    cpus: float | None = None,
    more: Callable[[Fleet], Sequence[str]] | None = None,
) -> None:
    """All of it as one fleet, each model once. A trial of which a model was given up has failed: to evaluate it would
    train that model once more.
    """
    wanted = [task for tasks in needs.values() for task in tasks]
    if not wanted:
        return
    shared = unique(wanted)
    log.info("sweep: %d models for %d trials; %d are shared", len(shared), len(needs), len(wanted) - len(shared))
    try:
        train_fleet(config, shared, cpus, more, stops)
    except Preempted:
        raise
    except TrainingError as error:
        log.error("sweep: %s", error)
        reasons = error.reasons if isinstance(error, NotTrained) else {}
        for outcome in outcomes:
            lost = [task for task in needs.get(outcome.trial.name, ()) if not task.stage.is_complete]
            if lost:
                fail(outcome, f"{lost[0].name} was not trained: {reasons.get(lost[0].key, error)}")


def _evaluate(config: Config, outcomes: Sequence[Outcome], store: Store, board: TrialBoard) -> None:
    """Ray Tune runs what is left of each trial; one that fails costs the others nothing."""
    able = {outcome.trial.name: outcome for outcome in outcomes if outcome.status != "failed"}
    if not able:
        return
    trees = {name: resolved(outcome.trial.config) for name, outcome in able.items()}

    def of(chosen: Mapping[str, Any]) -> Outcome:
        return able[str(chosen["run"])]

    work = partial(named_trial, _driver(config, store), trees)
    tuned(config, {"run": tune.grid_search(list(able))}, work, Told(board, of))


def _driver(config: Config, store: Store) -> Driver:
    return Driver(store, str(Path.cwd()), store.run(config.run.name))


def _searched(config: Config, store: Store) -> list[Outcome]:
    """Trials one after the other, each chosen by Optuna from the figures of those before."""
    axes = axes_of(config)
    try:
        from ray.tune.search.optuna import OptunaSearch

        searcher = OptunaSearch(metric=LEAST, mode="min", seed=config.run.seed)
    except ImportError as error:
        raise ConfigError(
            f"sweep.searcher=optuna needs a package that is not here ({error}): pip install optuna"
        ) from None
    space = {name: tune.choice(list(values)) for name, values in axes.items()}
    outcomes: list[Outcome] = []

    def of(chosen: Mapping[str, Any]) -> Outcome:
        """The trial of these values, entered when it is first met: Optuna may choose one again."""
        settings: dict[str, Setting] = {name: chosen[name] for name in axes}
        trial = trial_of(config, settings)
        found = next((outcome for outcome in outcomes if outcome.trial.name == trial.name), None)
        if found is None:
            outcomes.append(found := Outcome(trial))
        return found

    driver, signals = _driver(config, store), list[int]()

    def stop(number: int) -> None:
        signals.append(number)
        # Not here, within the signal's handler: the storage may be slow or away.
        reason: JsonObject = {"reason": f"{signal.Signals(number).name} at the driver"}
        threading.Thread(target=driver.stops.write_json, args=(STOP, reason), daemon=True).start()

    work = partial(chosen_trial, driver, resolved(config))
    # A search trains in its trials, which are asked to save as by jobs.stop; a grid has trained before it evaluates.
    with saves_on_signals(stop):
        tuned(config, space, work, Told(TrialBoard(outcomes), of), searcher)
    if signal.SIGINT in signals:
        raise Interrupted("the sweep was stopped, everything is saved; the same command goes on")
    return outcomes
