"""Probes of the seed, language by language, each a Ray task of its own; what is measured stays measured."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from app.artifacts.layout import FINAL_MODEL, probe_layers_name, probe_name
from app.artifacts.store import StageFolder
from app.config.schema import Config
from app.core.records import FloatArray, IntArray
from app.fleet.ray_session import ray_session
from app.lineage.inputs import PlannedStage
from app.lineage.lineage import Lineage
from app.lineage.settings import training_spec
from app.models.causal import CausalLM
from app.models.load import load_model
from app.pipelines.part_tasks import run_part_tasks
from app.probes.compare import probe_distances
from app.probes.layers import LayerChoice, choose_layers
from app.probes.measure import (
    deviation,
    layer_deviation,
    losses,
    mean_gradient,
    mean_representation,
    trained_copy,
)
from app.tokens.dataset import TokenCorpus
from app.tokens.rows import BlockDataset
from app.training.loop import TrainingSpec, choose_device, train
from app.training.saving import NoCheckpoints


@dataclass(frozen=True)
class Measured:
    """vector: see ``app.probes.compare``; layers: (L,) change of each layer, of the probe ``deviation`` alone."""

    vector: FloatArray
    layers: FloatArray | None = None


def make_probes(lineage: Lineage) -> dict[str, FloatArray]:
    """The distances between the languages by each probe that the strategy needs; empty where it needs none."""
    return {
        name: probe_distances(
            name, measured_languages(lineage.config, name, stage, lineage.languages, lineage.tokens, lineage.seed)
        )
        for name, stage in lineage.probes.items()
    }


def measured_languages(
    config: Config,
    probe: str,
    stage: PlannedStage,
    languages: Sequence[str],
    text: PlannedStage,
    model: PlannedStage,
) -> list[FloatArray]:
    """What a probe says of each of the languages, in their order, kept in ``stage``. text: tokens; model: the seed."""
    if not stage.is_complete:
        started = time.monotonic()
        tokens, seed = text.finished(), model.finished()
        waiting = [number for number, lang in enumerate(languages) if not stage.folder.exists(probe_name(lang))]

        def measure(number: int) -> dict[str, int]:
            lang = languages[number]
            found = measured(config, probe, tokens, seed, tuple(languages), lang)
            # Its vector last: a language that has it is not measured again.
            if found.layers is not None:
                _write(stage.folder, probe_layers_name(lang), found.layers)
            _write(stage.folder, probe_name(lang), found.vector)
            return {"numbers": len(found.vector)}

        with ray_session(config.cluster):
            gpus = config.training.gpus_per_expert
            run_part_tasks(f"probe {probe}", "languages", measure, waiting, gpus=gpus)
        stage.publish({"languages": list(languages)}, time.monotonic() - started)
    # Mapped, not read: a gradient has as many numbers as the model has parameters, and there is one of each language.
    return [_read(stage.folder, probe_name(lang)) for lang in languages]


def measured_layers(stage: PlannedStage, languages: Sequence[str]) -> LayerChoice | None:
    """The layers that these languages change most, of a finished probe; None of one that does not look at layers."""
    names = [probe_layers_name(lang) for lang in languages]
    if not all(stage.folder.exists(name) for name in names):
        return None
    return choose_layers([_read(stage.folder, name) for name in names])


def _write(folder: StageFolder, name: str, numbers: FloatArray) -> None:
    sink = io.BytesIO()
    # Loading a pickle would run code from the store.
    np.save(sink, numbers, allow_pickle=False)
    folder.write(name, sink.getvalue())


def _read(folder: StageFolder, name: str) -> FloatArray:
    found: FloatArray = np.load(folder.local(name), mmap_mode="r", allow_pickle=False)
    return found


def measured(
    config: Config, probe: str, tokens: StageFolder, seed: StageFolder, languages: tuple[str, ...], lang: str
) -> Measured:
    """What a probe says of one language."""
    corpus = TokenCorpus.open(tokens)
    # Where training will put the copy: the two are compared.
    model = load_model(str(seed.local(FINAL_MODEL))).to(choose_device("auto")).eval()
    training, rows = config.training, config.probes.rows
    if probe == "gradient":
        found = _rows(config, corpus, lang, rows)
        return Measured(mean_gradient(model, found, training.loss_chunk_tokens, training.micro_batch_rows))
    if probe == "representation":
        return Measured(mean_representation(model, _rows(config, corpus, lang, rows), training.micro_batch_rows))
    after = trained_copy(model, lambda copy: _short_training(config, corpus, lang, copy))
    if probe == "deviation":
        return Measured(deviation(model, after), layer_deviation(model, after))
    # The losses of one language for all: one row of the table, see probe_distances.
    text: Mapping[str, IntArray] = {other: _rows(config, corpus, other, rows) for other in languages}
    before, now = (losses(each, text, training.loss_chunk_tokens, training.micro_batch_rows) for each in (model, after))
    return Measured(np.array([now[other] - before[other] for other in languages]))


def _short_training(config: Config, corpus: TokenCorpus, lang: str, model: CausalLM) -> None:
    spec = _spec(config, lang)
    spec = replace(spec, schedule="constant", warmup_fraction=0.0)
    train(spec, model, _stream(spec, corpus, lang, spec.num_steps * spec.rows_per_step), NoCheckpoints())


def _rows(config: Config, corpus: TokenCorpus, lang: str, count: int) -> IntArray:
    """Rows of one language behind those of its short training: others, unless the text is too little for both."""
    spec = _spec(config, lang)
    first = spec.num_steps * spec.rows_per_step
    # With one language, row i is the same however many there are: so these really follow those of the training.
    return _stream(spec, corpus, lang, first + count).rows(first, first + count)


def _spec(config: Config, lang: str) -> TrainingSpec:
    budget = config.probes.steps * config.training.tokens_per_step
    return training_spec(config, f"probe-{lang}", budget, config.probes.learning_rate)


def _stream(spec: TrainingSpec, corpus: TokenCorpus, lang: str, count: int) -> BlockDataset:
    return BlockDataset(corpus, {lang: 1.0}, spec.sequence_length, count, spec.run_seed)
