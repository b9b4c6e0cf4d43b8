"""Experiment trackers as hooks: TensorBoard, Weights & Biases, MLflow.

Their libraries are imported late: training must work on a machine that has none of them. A model that is resumed
continues its own curve. Keys and addresses come from the trackers' own environment variables, never from the config.
"""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.core.errors import ConfigError
from app.training.hooks import Hook, StepMetrics

if TYPE_CHECKING:
    from tensorboardX import SummaryWriter

log = logging.getLogger(__name__)

PROJECT = "xelm"
_SCALARS = ("loss", "learning_rate", "gradient_norm", "tokens_per_second", "tokens_seen")


@dataclass(frozen=True)
class TrackedModel:
    """Whose metrics these are. ``folder``: for the files of trackers that write some; ``settings``: shown beside."""

    run: str
    name: str
    key: str
    folder: Path
    settings: Mapping[str, Any]


class TensorBoard:
    """Loss, learning rate, gradient norm and speed against the step, as TensorBoard event files."""

    def __init__(self, model: TrackedModel) -> None:
        self._folder = model.folder
        self._writer: SummaryWriter | None = None

    def start(self, step: int) -> None:
        """Open the event file; events beyond the resumed step are purged by TensorBoard itself."""
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(str(self._folder), purge_step=step + 1)

    def step(self, metrics: StepMetrics) -> None:
        """Add the scalars of one step."""
        assert self._writer is not None
        for name in ("loss", "learning_rate", "gradient_norm", "tokens_per_second"):
            self._writer.add_scalar(f"train/{name}", getattr(metrics, name), metrics.step)
        self._writer.add_scalar("train/loss_by_tokens", metrics.loss, metrics.tokens_seen)

    def close(self) -> None:
        """Flush and close the event file."""
        if self._writer is not None:
            self._writer.close()


class WeightsAndBiases:
    """One W&B run for each model, under the run's name as group; the model's key is its id, so it resumes."""

    def __init__(self, model: TrackedModel) -> None:
        self._model = model
        self._run: Any = None

    def start(self, step: int) -> None:
        """Open the run, or the one of an earlier attempt."""
        import wandb

        model = self._model
        model.folder.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(
            project=PROJECT,
            group=model.run,
            name=model.name,
            id=model.key,
            # Goes on with the run of this id, or makes it.
            resume="allow",
            dir=str(model.folder),
            config=dict(model.settings),
            # By default this process gets back the run that it has open, which may be another model's.
            reinit="create_new",
        )

    def step(self, metrics: StepMetrics) -> None:
        """Log the scalars of one step; W&B leaves out steps that it has already."""
        self._run.log({f"train/{name}": getattr(metrics, name) for name in _SCALARS}, step=metrics.step)

    def close(self) -> None:
        """Send what is left."""
        if self._run is not None:
            self._run.finish()


class MlFlow:
    """One MLflow run for each model, in an experiment of the run's name; found again by the model's key."""

    def __init__(self, model: TrackedModel) -> None:
        self._model = model
        self._client: Any = None
        self._id = ""

    def start(self, step: int) -> None:
        """Open the run, or the one of an earlier attempt."""
        from mlflow.tracking import MlflowClient

        model = self._model
        self._client = MlflowClient()
        experiment = self._experiment(model.run)
        # MLflow gives runs ids of its own, so a tag says which one is this model's.
        found = self._client.search_runs([experiment], f"tags.`xelm.key` = '{model.key}'", max_results=1)
        if found:
            self._id = found[0].info.run_id
            self._client.update_run(self._id, status="RUNNING")
            return
        self._id = self._client.create_run(experiment, run_name=model.name, tags={"xelm.key": model.key}).info.run_id
        for name, value in model.settings.items():
            self._client.log_param(self._id, name, value)

    def _experiment(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        known = self._client.get_experiment_by_name(name)
        if known is None:
            try:
                return str(self._client.create_experiment(name))
            except MlflowException:
                # Experts start together: another one may have made it since.
                known = self._client.get_experiment_by_name(name)
                if known is None:
                    raise
        return str(known.experiment_id)

    def step(self, metrics: StepMetrics) -> None:
        """Log the scalars of one step."""
        for name in _SCALARS:
            # MLflow's timestamps are milliseconds.
            value, when = getattr(metrics, name), int(metrics.time * 1000)
            self._client.log_metric(self._id, name, value, timestamp=when, step=metrics.step)

    def close(self) -> None:
        """Mark the run as ended; a resumed one is opened again."""
        if self._id:
            self._client.set_terminated(self._id)


class Lenient:
    """A tracker that cannot stop the training: its first error is logged, then it is left alone."""

    def __init__(self, tracker: Hook) -> None:
        self._tracker = tracker
        self._failed = False

    def start(self, step: int) -> None:
        """See Hook."""
        self._try(self._tracker.start, step)

    def step(self, metrics: StepMetrics) -> None:
        """See Hook."""
        self._try(self._tracker.step, metrics)

    def close(self) -> None:
        """See Hook; also after an error, for what the tracker holds open."""
        self._try(self._tracker.close, always=True)

    def _try(self, call: Callable[..., None], *arguments: object, always: bool = False) -> None:
        if self._failed and not always:
            return
        try:
            call(*arguments)
        except Exception as error:  # whatever a service on the network may raise
            self._failed = True
            log.warning("%s failed and is left out from here on: %s", type(self._tracker).__name__, error)


_TRACKERS: Mapping[str, tuple[Callable[[TrackedModel], Hook], str]] = {
    # Not lenient: it writes files and calls no service.
    "tensorboard": (TensorBoard, "tensorboardX"),
    "wandb": (lambda model: Lenient(WeightsAndBiases(model)), "wandb"),
    "mlflow": (lambda model: Lenient(MlFlow(model)), "mlflow"),
}
"""Name -> the hook, and the module it needs."""


def open_trackers(names: Sequence[str], model: TrackedModel) -> list[Hook]:
    """The hooks of the named trackers; names that are none of these belong to others (``prometheus`` is Ray's)."""
    return [_TRACKERS[name][0](model) for name in names if name in _TRACKERS]


def require_trackers(names: Sequence[str]) -> None:
    """Try each tracker once, before anything is trained. Raises ConfigError, naming the cure.

    A tracker that fails in the middle of a training stops nothing; one that cannot work from the start would lose every
    curve without a word that anybody reads.
    """
    for name in names:
        if name in _TRACKERS and importlib.util.find_spec(_TRACKERS[name][1]) is None:
            raise ConfigError(
                f"training.trackers names {name}, but {_TRACKERS[name][1]} is not installed; take it out, or"
                f" .venv/bin/pip install -c constraints.txt '.[{name}]'"
            )
    for name in names:
        if name in _TRIALS:
            trial, cure = _TRIALS[name]
            try:
                trial()
            except Exception as error:  # whatever a service on the network, or its client, may raise
                said = " ".join(str(error).split()) or type(error).__name__
                raise ConfigError(f"training.trackers names {name}, which cannot be used: {said}; {cure}") from error


def _try_wandb() -> None:
    """Ask who we are, unless nothing is sent."""
    if os.environ.get("WANDB_MODE", "online") not in _WANDB_SENDS:
        return
    import wandb

    # Reading the property is what asks the server.
    _ = wandb.Api(timeout=_TRIAL_SECONDS).viewer


def _try_mlflow() -> None:
    """List an experiment; without the client's minutes of retries."""
    from mlflow.tracking import MlflowClient

    # The client has no arguments for these.
    patience = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": str(_TRIAL_SECONDS)}
    before = {name: os.environ.get(name) for name in patience}
    os.environ.update(patience)
    try:
        MlflowClient().search_experiments(max_results=1)
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


_TRIAL_SECONDS = 10
_WANDB_SENDS = ("online", "shared", "run")
_TRIALS: Mapping[str, tuple[Callable[[], None], str]] = {
    "wandb": (_try_wandb, "set WANDB_API_KEY, or WANDB_MODE=offline, or take it out"),
    "mlflow": (
        _try_mlflow,
        "set MLFLOW_TRACKING_URI to your server, or to file:///FOLDER together with MLFLOW_ALLOW_FILE_STORE=true, or"
        " take it out",
    ),
}
"""Name -> what is tried in the driver, and what to do where it fails."""
