"""A sweep: what the trials share is made once, their models are one fleet, and Ray Tune evaluates each.

Every trial is a run of its own, made of the same stages under another configuration. So all that two of them share has
one key and is made once, and a sweep that was interrupted goes on when the same command is typed again.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from ray import tune

from app.artifacts.lease import held
from app.artifacts.store import Store
from app.config.load import load_config_tree, resolved
from app.config.schema import Config
from app.core.errors import ConfigError, Preempted, TrainingError, XelmError
from app.fleet.ray_session import ray_session
from app.fleet.run_fleet import train_fleet
from app.lineage.lineage import Lineage
from app.lineage.runs import record
from app.lineage.tasks import unique
from app.pipelines.allocate import make_allocation
from app.pipelines.everything import run_everything
from app.pipelines.seed import make_seed
from app.pipelines.shard import make_shards
from app.pipelines.tokenize import make_tokens
from app.training.model_task import ModelTask
from tune.board import TrialBoard
from tune.figures import LEAST, LOWEST, trial_figures
from tune.space import Outcome, Setting, axes_of, grid, planned_settings, trial_of

log = logging.getLogger(__name__)

LEASE = "sweep.json"
"""Sweeps over one store take turns: the second finds what the first has trained."""
_OF_A_TRIAL = {"CPU": 0, "memory": 1}
"""A trial only waits for the tasks that it starts: a core that it held would be missing to them. Tune wants it to hold
something, so it is a byte."""


def run_sweep(config: Config, store: Store) -> list[Outcome]:
    """Run every trial; those that fail are told and do not stop the others.

    Raises ConfigError for a sweep that tries nothing, and Preempted after a stop: the same command goes on.
    """
    with held(store.folder(""), LEASE, "tune.sweep"), ray_session(config.cluster):
        if config.sweep.searcher == "optuna":
            outcomes = _searched(config, store)
        else:
            outcomes = [Outcome(trial_of(config, settings)) for settings in planned_settings(config)]
            board = TrialBoard(outcomes)
            _train_together(config, outcomes, store, board)
            _evaluate(outcomes, store, board)
    if stopped := [outcome.trial.name for outcome in outcomes if outcome.status == "stopped"]:
        raise Preempted(f"the sweep was stopped before {stopped[0]} was finished; the same command goes on")
    return outcomes


def _train_together(config: Config, outcomes: Sequence[Outcome], store: Store, board: TrialBoard) -> None:
    """Every stage before training, then all models of all trials as one fleet, each once."""
    tasks: list[ModelTask] = []
    for number, outcome in enumerate(outcomes, 1):
        log.info("sweep: trial %d of %d, %s", number, len(outcomes), outcome.trial.name)
        try:
            models = _prepared(Lineage(outcome.trial.config, store))
            board.needs(outcome.trial.name, [task.key for task in models])
            tasks += models
        except Preempted:  # a stop is of the whole sweep, and no failure of this trial
            raise
        except Exception as error:  # whatever a library raises for one trial's settings is that trial's alone
            _fail(outcome, error)
    if not tasks:
        return
    wanted, shared = len(tasks), unique(tasks)
    log.info("sweep: %d models for %d trials; %d are shared", len(shared), len(outcomes), wanted - len(shared))
    try:
        train_fleet(config, shared, more=board.lines)
    except Preempted:
        raise
    except TrainingError as error:  # the trials that need what was given up say so themselves
        log.error("sweep: %s", error)


def _prepared(lineage: Lineage) -> list[ModelTask]:
    for make in (make_shards, make_seed, make_tokens, make_allocation):
        record(lineage, make(lineage))
    return [*lineage.baselines, *lineage.experts]


def _evaluate(outcomes: Sequence[Outcome], store: Store, board: TrialBoard) -> None:
    """Ray Tune runs what is left of each trial; one that fails costs the others nothing."""
    able = {outcome.trial.name: outcome for outcome in outcomes if outcome.status != "failed"}
    if not able:
        return
    trees = {name: resolved(outcome.trial.config) for name, outcome in able.items()}

    def of(chosen: Mapping[str, Any]) -> Outcome:
        return able[str(chosen["run"])]

    work = partial(_named_trial, store, trees)
    for result in _tuned({"run": tune.grid_search(list(able))}, work, _Told(board, of)):
        _note(of(result.config or {}), result.metrics, result.error)


def _searched(config: Config, store: Store) -> list[Outcome]:
    """Trials one after the other, each chosen by Optuna from the figures of those before."""
    axes = axes_of(config)
    for settings in grid(axes):
        trial_of(config, settings)  # what the configuration refuses is said before anything is trained
    try:
        from ray.tune.search.optuna import OptunaSearch

        searcher = OptunaSearch(metric=LEAST, mode="min", seed=config.run.seed)
    except ImportError as error:
        raise ConfigError(
            f"sweep.searcher=optuna needs a package that is not here ({error}): pip install optuna"
        ) from None
    space = {name: tune.choice(list(values)) for name, values in axes.items()}
    work = partial(_chosen_trial, store, resolved(config))
    outcomes: list[Outcome] = []

    def of(chosen: Mapping[str, Any]) -> Outcome:
        """The trial of these values, entered when it is first met: Optuna may choose one again."""
        settings: dict[str, Setting] = {name: chosen[name] for name in axes}
        trial = trial_of(config, settings)
        found = next((outcome for outcome in outcomes if outcome.trial.name == trial.name), None)
        if found is None:
            outcomes.append(found := Outcome(trial))
        return found

    for result in _tuned(space, work, _Told(TrialBoard(outcomes), of), searcher, config.sweep.trials):
        _note(of(result.config or {}), result.metrics, result.error)
    return outcomes


class _Told(tune.Callback):  # type: ignore[misc]
    """Tune's news for the board."""

    def __init__(self, board: TrialBoard, of: Callable[[Mapping[str, Any]], Outcome]) -> None:
        self._board, self._of = board, of

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """See Callback."""
        self._board.begun(self._of(trial.config).trial.name)

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """See Callback."""
        outcome = self._of(trial.config)
        # Already here, so that the board shows it; a trial that raises does not come here and is noted at the end.
        _note(outcome, trial.last_result, None)
        self._board.ended(outcome.trial.name)


def _tuned(space: dict[str, Any], work: Any, told: _Told, searcher: Any = None, samples: int = 1) -> list[Any]:
    """Tune's results. Its own files hold nothing that is needed later: what is finished is found in the store."""
    # Without a place of its own Tune would leave them in ~/ray_results.
    with tempfile.TemporaryDirectory(prefix="xelm-sweep-", ignore_cleanup_errors=True) as folder:
        tuner = tune.Tuner(
            tune.with_resources(work, _OF_A_TRIAL),
            param_space=space,
            # One at a time: Optuna chooses by the figures before, and a trial's own tasks fill the cluster.
            tune_config=tune.TuneConfig(
                metric=LEAST, mode="min", search_alg=searcher, num_samples=samples, max_concurrent_trials=1
            ),
            run_config=tune.RunConfig(storage_path=folder, verbose=0, callbacks=[told]),
        )
        return list(tuner.fit())


def _named_trial(store: Store, trees: Mapping[str, Mapping[str, Any]], chosen: dict[str, Any]) -> None:
    tune.report(_worked(load_config_tree(trees[chosen["run"]]), store))


def _chosen_trial(store: Store, tree: Mapping[str, Any], chosen: dict[str, Any]) -> None:
    tune.report(_worked(trial_of(load_config_tree(tree), chosen).config, store))


def _worked(config: Config, store: Store) -> dict[str, Any]:
    """The figures of a trial, its stages made; a failure is a figure too: Tune wants one, the worst there is."""
    try:
        run_everything(config, store)
        return dict(trial_figures(config, store))
    except Preempted as error:
        return {LEAST: float("inf"), "stopped": str(error)}
    except XelmError as error:
        return {LEAST: float("inf"), "failed": str(error)}


def _note(outcome: Outcome, metrics: Mapping[str, Any] | None, error: Exception | None) -> None:
    found = metrics or {}
    if "stopped" in found or outcome.status != "stopped":  # not at its end, or noted when it ended
        return
    if error is not None or "failed" in found:
        _fail(outcome, error if error is not None else TrainingError(str(found["failed"])))
    elif LEAST in found:
        outcome.status = "finished"
        outcome.figures = {name: found[name] for name in FIGURES if name in found}


def _fail(outcome: Outcome, error: Exception) -> None:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    outcome.status, outcome.reason = "failed", lines[-1]
    log.error("sweep: %s failed: %s", outcome.trial.name, outcome.reason)


FIGURES = (
    *(LEAST, "low", "high", LOWEST, "worst_language", "worst_log_ratio", "wins", "clear_wins", "languages"),
    *(
        "experts_per_token",
        "active_parameters",
        "total_parameters",
        "training_seconds",
        "slot_hours",
        "gpu_hours",
        "tokens",
    ),
)
"""What is kept of a trial's figures: the rest is Tune's own bookkeeping."""
