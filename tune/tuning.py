"""Trials under Ray Tune: each in a process somewhere in the cluster, tried again where a machine was lost."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, chdir, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune
from ray.exceptions import RayError, RayTaskError

from app.artifacts.store import Folder, Store
from app.config.load import load_config_tree
from app.config.schema import Config
from app.core.errors import MissingArtifact, NotTrained, Preempted, StorageError, TrainingError, XelmError
from app.core.records import JsonObject
from app.lineage.lineage import Lineage
from app.pipelines.everything import run_everything
from tune.board import TrialBoard
from tune.figures import FIGURES, LEAST, trial_figures
from tune.space import Outcome, trial_of

log = logging.getLogger(__name__)

GIVEN_UP = "sweep/given_up.json"
"""In a search's folder: key of each model that was given up -> why. A later trial that needs it fails at once."""

_OF_A_TRIAL = {"CPU": 0, "memory": 1}
"""A trial only waits for the tasks that it starts: a core that it held would be missing to them. Tune wants it to hold
something, so it is a byte."""


@dataclass(frozen=True)
class Driver:
    """What a trial has of the sweep's driver: its store, its folder, and where a stop of the sweep is asked for."""

    store: Store
    folder: str
    stops: Folder


def named_trial(driver: Driver, trees: Mapping[str, Mapping[str, Any]], chosen: dict[str, Any]) -> None:
    """Tune's function of a grid. trees: run -> the whole configuration of its trial."""
    tune.report(_worked(load_config_tree(trees[chosen["run"]]), driver))


def chosen_trial(driver: Driver, tree: Mapping[str, Any], chosen: dict[str, Any]) -> None:
    """Tune's function of a search. tree: the sweep's configuration."""
    tune.report(_worked(trial_of(load_config_tree(tree), chosen).config, driver))


def given_up(driver: Driver) -> JsonObject:
    """See GIVEN_UP."""
    return driver.stops.read_json(GIVEN_UP) if driver.stops.exists(GIVEN_UP) else {}


def _worked(config: Config, driver: Driver) -> dict[str, Any]:
    """The figures of a trial, its stages made; a failure is a figure too: Tune wants one, the worst there is."""
    try:
        with _in_folder_of(driver):
            _require_none_given_up(config, driver)
            run_everything(config, driver.store, driver.stops)
            return dict(trial_figures(config, driver.store))
    except Preempted as error:
        return {LEAST: float("inf"), "stopped": str(error)}
    except Exception as error:  # what a library raises for one trial's settings is that trial's alone
        if _may_pass(error):
            raise
        if isinstance(error, NotTrained):
            driver.stops.write_json(GIVEN_UP, {**given_up(driver), **error.reasons})
        if isinstance(error, XelmError):
            return {LEAST: float("inf"), "failed": str(error)}
        # Only its last line is told, so that all of it is in the log of the trial's process.
        log.exception("sweep: %s", config.run.name)
        return {LEAST: float("inf"), "failed": f"{type(error).__name__}: {error}"}


def _require_none_given_up(config: Config, driver: Driver) -> None:
    """Raise TrainingError if a model of the trial was given up by a trial before."""
    if not (lost := given_up(driver)):
        return
    lineage, needed = Lineage(config, driver.store), dict[str, str]()
    with suppress(MissingArtifact):  # what a model is made of is not there yet, so this one was not tried
        needed[lineage.seed.key] = "the seed"
        needed |= {task.key: task.name for task in lineage.baselines}
        needed |= {task.key: task.name for task in lineage.experts}
    for key in needed.keys() & lost.keys():
        raise TrainingError(f"{needed[key]} was given up in an earlier trial: {lost[key]}")


def _in_folder_of(driver: Driver) -> AbstractContextManager[None]:
    """Relative places in the configuration are the driver's, and Tune has changed into a folder of the trial's own.

    A machine that has no such folder has no such places either.
    """
    return chdir(driver.folder) if Path(driver.folder).is_dir() else nullcontext()


def _may_pass(error: Exception) -> bool:
    """Whether it is a lost machine or a storage that is away, worth another try; any other error would come again."""
    return isinstance(error, StorageError) or (isinstance(error, RayError) and not isinstance(error, RayTaskError))


class Told(tune.Callback):  # type: ignore[misc]
    """Tune's news, entered in the outcomes and shown. of: the outcome of the values that Tune has chosen."""

    def __init__(self, board: TrialBoard, of: Callable[[Mapping[str, Any]], Outcome]) -> None:
        self._board, self._of = board, of
        self.is_stopped = False
        """Whether a trial has ended because the sweep was stopped."""

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """See Callback."""
        self._board.begun(self._of(trial.config).trial.name)

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """See Callback."""
        outcome = self._of(trial.config)
        note(outcome, trial.last_result or {})
        self.is_stopped |= "stopped" in (trial.last_result or {})
        self._board.ended(outcome.trial.name)

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """See Callback; it is called once no try is left. A result of such a trial may not even name its settings."""
        outcome = self._of(trial.config)
        fail(outcome, Path(trial.error_file).read_text() if trial.error_file else "its process was lost")
        self._board.ended(outcome.trial.name)


class _NoMore(tune.Stopper):  # type: ignore[misc]
    """After a trial that was stopped with the sweep none is begun: each would take a process only to be stopped too."""

    def __init__(self, told: Told) -> None:
        self._told = told

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """See Stopper: none is ended for what it has reported."""
        return False

    def stop_all(self) -> bool:
        """See Stopper."""
        return self._told.is_stopped


def tuned(config: Config, space: Mapping[str, Any], work: Any, told: Told, searcher: Any = None) -> None:
    """Let Tune run the trials; ``told`` hears what becomes of them. Tune's own files hold nothing that is needed later:
    what is finished is found in the store.
    """
    # Its own handler would keep Ctrl-C from ours, and name a folder to go on from that is removed here.
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    # Without a place of its own Tune would leave them in ~/ray_results.
    with tempfile.TemporaryDirectory(prefix="xelm-sweep-", ignore_cleanup_errors=True) as folder:
        tune.Tuner(
            tune.with_resources(work, _OF_A_TRIAL),
            param_space=dict(space),
            # One at a time: Optuna chooses by the figures before, and a trial's own tasks fill the cluster.
            tune_config=tune.TuneConfig(
                metric=LEAST,
                mode="min",
                search_alg=searcher,
                num_samples=config.sweep.trials if searcher else 1,
                max_concurrent_trials=1,
            ),
            run_config=tune.RunConfig(
                storage_path=folder,
                verbose=0,
                callbacks=[told],
                stop=_NoMore(told),
                # Errors of ours are figures and do not come here: what does is a lost process.
                failure_config=tune.FailureConfig(max_failures=config.training.max_failures),
            ),
        ).fit()


def note(outcome: Outcome, found: Mapping[str, Any]) -> None:
    """Enter what a trial has reported; what was stopped stays so."""
    if "stopped" in found or outcome.status != "stopped":
        return
    if "failed" in found:
        fail(outcome, str(found["failed"]))
    elif LEAST in found:
        outcome.status = "finished"
        outcome.figures = {name: found[name] for name in FIGURES if name in found}


def fail(outcome: Outcome, said: str) -> None:
    """Enter a failure, whose reason is the last line."""
    lines = said.strip().splitlines() or ["it gave no reason"]
    outcome.status, outcome.reason = "failed", lines[-1]
    log.error("sweep: %s failed: %s", outcome.trial.name, outcome.reason)
