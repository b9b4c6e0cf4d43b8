"""One model from its task: parent, blocks, loop, published folder. No Ray: this is what a worker calls.

Everything a task needs is in the store, so it runs on any machine that reaches the store and may be run again
after any interruption: a finished model is returned as it is, an unfinished one continues from its newest
checkpoint.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch

from app.artifacts.checkpoints import ModelCheckpoints
from app.artifacts.digests import weights_digest
from app.artifacts.layout import FINAL_MODEL, METRICS, TENSORBOARD
from app.artifacts.manifest import Manifest
from app.artifacts.store import StageFolder, Store
from app.core.errors import LeaseLost, StorageError
from app.core.records import IntArray, JsonObject, JsonValue
from app.models.architecture import ModelShape
from app.models.causal import CausalLM
from app.models.load import count_parameters, load_model, require_vocabulary, save_model
from app.models.registry import build_model
from app.tokens.counts import PartCount
from app.tokens.dataset import TokenCorpus
from app.tokens.rows import BlockDataset
from app.tokens.stream import Chosen
from app.training.assignment import part_experts, part_tokens
from app.training.hooks import Hook, MetricsFile, NowAndThen, StopRequest
from app.training.loop import TrainingResult, TrainingSpec, choose_device, device_name, train
from app.training.parallel import gathered, open_workers
from app.training.trackers import TrackedModel, open_trackers

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelTask:
    """What one model is trained from; picklable, a few kilobytes.

    ``weights``: share of each language in its training rows, sums to 1. ``allocation`` and ``expert`` restrict the
    rows to one expert's documents; without them every training document of the languages is used. ``run`` and
    ``trackers``: under whose name to log where; ``made_by``: the command that runs this task. ``parent``: the model it
    starts from, None for random weights; ``round``: how many times one before it was trained on, 0 for the first.
    ``held``: tokens of each language that there are to train on.
    """

    name: str
    store: Store
    key: str
    fields: Mapping[str, JsonValue]
    parents: Mapping[str, str]
    tokens: str
    parent: str | None
    shape: ModelShape | None
    weights: Mapping[str, float]
    spec: TrainingSpec
    keep_checkpoints: int
    allocation: str | None = None
    expert: int | None = None
    run: str = ""
    trackers: tuple[str, ...] = ("tensorboard",)
    made_by: str = ""
    round: int = 0
    held: Mapping[str, int] = field(default_factory=dict)

    @property
    def stage(self) -> StageFolder:
        """Where the model is or will be."""
        return self.store.stage("model", self.key, self.made_by)


def run_model_task(
    task: ModelTask, stop: StopRequest | None = None, more: Sequence[Hook] = (), driven_by: str = ""
) -> JsonObject:
    """Train the model unless it is finished; returns the counts of its manifest. driven_by: name of the run whose job
    wants it, which need not be the task's own.

    stop: asked for when the machine is going away. more: hooks beside the metrics file and the trackers. Where a
    process group is open, each of its processes calls this; the first one alone writes.
    Raises TrainingError (NonFiniteLoss, Preempted, LeaseLost), ArtifactError, and ConfigError if the parent has fewer
    ids than the tokenizer.
    """
    stage = task.stage
    workers = open_workers(task.spec.parallelism, choose_device(task.spec.device))
    # Asked once for all: looks at slightly different moments may differ, and half of the workers would leave.
    if workers.shared(partial(_is_complete, stage)):
        # Those of an attempt that was killed after its last line but one.
        workers.shared(ModelCheckpoints(stage, task.keep_checkpoints).clear)
        return dict(stage.manifest().counts)
    started = time.monotonic()
    checkpoints = ModelCheckpoints(stage, task.keep_checkpoints, run=driven_by)
    # Before the newest checkpoint is looked for: from here on an orphan of an earlier attempt cannot add another.
    workers.shared(checkpoints.claim)
    blocks = task_blocks(task)
    model = _parent_model(task)
    require_vocabulary(model, blocks.vocab_size, task.name)
    with tempfile.TemporaryDirectory(prefix="xelm-logs-") as temporary:
        logs = _logs(task, Path(temporary), more, checkpoints.check_lease)
        with nullcontext(()) if workers.rank else logs as hooks:
            result = train(task.spec, model, blocks, checkpoints, hooks, stop, workers)
            earlier = sum(hook.seconds_before for hook in hooks if isinstance(hook, MetricsFile))
        # Before all but the first worker leave: it takes every worker's part of the weights.
        model = gathered(model, workers, partial(_parent_model, task))
        counts = _counts(task, result, earlier, blocks, count_parameters(model), workers.count)
        if workers.rank:
            return counts
        final = Path(temporary) / FINAL_MODEL
        save_model(model, final, _card(task, counts))
        counts["weights_sha256"] = weights_digest(final)
        checkpoints.check_lease("the final model")
        stage.upload(final, FINAL_MODEL)
    stage.publish(Manifest("model", task.key, task.fields, task.parents, counts, time.monotonic() - started))
    # Last: a kill before the stage is marked as done must find them.
    checkpoints.clear()
    return counts


def _counts(
    task: ModelTask, result: TrainingResult, earlier: float, blocks: BlockDataset, parameters: int, workers: int
) -> JsonObject:
    """What the manifest says of the training. earlier: seconds of the attempts before this one."""
    exposure: JsonObject = dict(blocks.exposure())
    epochs: JsonObject = dict(blocks.epochs())
    return {
        "name": task.name,
        "steps": result.steps,
        "tokens_seen": result.tokens_seen,
        "exposure_tokens": exposure,
        "epochs": epochs,
        "final_loss": result.final_loss,
        "training_seconds": earlier + result.seconds,
        "attempt_seconds": result.seconds,
        "saving_seconds": result.saving_seconds,
        "saves": result.saves,
        "save_seconds": result.save_seconds,
        "device": device_name(task.spec.device),
        "parameters": parameters,
        "torch": torch.__version__,
        "workers": workers,
    }


@contextmanager
def _logs(
    task: ModelTask, temporary: Path, more: Sequence[Hook], check_lease: Callable[[str], None]
) -> Iterator[list[Hook]]:
    """Hooks that log into the model's folder, and ``more``; a remote one's logs are fetched first and sent.

    Only the holder of the lease sends; that it could not at the end is said, and does not hide how training ended.
    """
    stage = task.stage
    folder = stage.local() if stage.is_local else temporary
    folder.mkdir(parents=True, exist_ok=True)

    def send() -> None:
        check_lease("the log")
        stage.write(METRICS, (folder / METRICS).read_bytes())

    # The metrics hook then drops what lies beyond the resumed step, as in a file that was here all the time.
    if not stage.is_local and stage.exists(METRICS):
        (folder / METRICS).write_bytes(stage.read(METRICS))
    if not stage.is_local and stage.exists(TENSORBOARD):
        # Put back as a whole at the end: what is not here then would be gone.
        (folder / TENSORBOARD).mkdir()
        for name in stage.names(TENSORBOARD):
            stage.fetch(f"{TENSORBOARD}/{name}", folder / TENSORBOARD / name)
    try:
        settings = {"languages": ",".join(sorted(task.weights)), "parent": task.parent, **asdict(task.spec)}
        model = TrackedModel(task.run, task.name, task.key, folder / TENSORBOARD, settings)
        hooks: list[Hook] = [MetricsFile(folder / METRICS), *open_trackers(task.trackers, model), *more]
        yield hooks if stage.is_local else [*hooks, NowAndThen(send)]
    finally:
        if not stage.is_local and (folder / METRICS).exists():
            try:
                send()
                if (folder / TENSORBOARD).exists():
                    stage.upload(folder / TENSORBOARD, TENSORBOARD)
            except (StorageError, LeaseLost) as error:
                log.warning("%s: the end of its log is lost: %s", task.name, error)


def _is_complete(stage: StageFolder) -> bool:
    return stage.is_complete


def task_blocks(task: ModelTask) -> BlockDataset:
    """The training rows of a task, a pure function of its seed; no token is read until a row is asked for."""
    corpus = TokenCorpus.open(task.store.stage("tokens", task.tokens))
    rows = task.spec.num_steps * task.spec.rows_per_step
    return BlockDataset(
        corpus, task.weights, task.spec.sequence_length, rows, task.spec.run_seed, task_documents(task, corpus)
    )


def task_documents(task: ModelTask, corpus: TokenCorpus) -> Chosen | None:
    """Which documents of a part belong to the task's expert; None where all do."""
    if task.allocation is None or task.expert is None:
        return None
    allocation, expert = task.store.stage("allocation", task.allocation), task.expert

    def documents(lang: str, part: PartCount) -> IntArray:
        return np.flatnonzero(part_experts(allocation, corpus, lang, part) == expert)

    return Chosen(documents, lambda lang: part_tokens(allocation, corpus, lang, expert))


def _parent_model(task: ModelTask) -> CausalLM:
    if task.parent is None:
        assert task.shape is not None, "a task without a parent needs a shape"
        return build_model(task.shape, task.spec.run_seed)
    parent = task.store.stage("model", task.parent)
    # Raises what to run where the parent is not finished; its folder alone may hold a half of it.
    parent.manifest()
    return load_model(str(parent.local(FINAL_MODEL)))


def _card(task: ModelTask, counts: JsonObject) -> str:
    languages = ", ".join(sorted(task.weights))
    return (
        f"# {task.name}\n\nA model of the X-ELM project: {task.fields.get('kind', 'expert')},"
        f" key `{task.key}`, parent `{task.parent or 'none'}`.\n\n"
        f"- languages: {languages}\n- tokens seen: {counts['tokens_seen']} in {counts['steps']} steps of"
        f" {task.spec.tokens_per_step}\n- final training loss: {counts['final_loss']}\n"
        f"- training time: {counts['training_seconds']} s, torch {counts['torch']}\n"
    )
