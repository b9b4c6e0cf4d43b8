"""Weightings of a run's experts compared on the log-probabilities and distances that evaluation has kept.

Each is computed by the code that evaluation and serving use, so its figure is what running the models would give.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import yaml

from app.allocation.storage import load_allocator
from app.artifacts.layout import ALLOCATOR, CONFIG, DISTANCES
from app.artifacts.store import StageFolder, Store
from app.config.load import load_config_tree
from app.config.schema import Config
from app.core.errors import MissingArtifact
from app.core.records import FloatArray, JsonObject
from app.core.seeding import derive_seed
from app.ensemble.mixing import mix_log_probs
from app.ensemble.routing import document_weights
from app.ensemble.rules import RULES, WeightingSettings
from app.evaluation.scores import ScoredDocuments, load_scores, scored_documents
from app.evaluation.systems import DENSE
from app.lineage.adapted import made_stage
from app.lineage.inputs import EVALUATE
from app.lineage.lineage import Lineage
from app.lineage.settings import weighting_settings
from app.reporting.tables import change_of_log, text_table

_TEMPERATURES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_POWERS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
_FORGETTING = (0.9, 0.97, 0.99, 0.997, 1.0)
_SHOWN = 10


@dataclass(frozen=True)
class Kept:
    """What is kept of a run. scores, distances: (tokens, k); dense: (tokens,) nats; unit: of the allocation."""

    documents: ScoredDocuments
    scores: FloatArray
    distances: FloatArray
    dense: FloatArray
    unit: str


def best_weighting(config: Config, store: Store) -> JsonObject:
    """The weighting that is best on one half of the documents, with its figure on the other half beside the run's own.

    Raises MissingArtifact where the run is not evaluated.
    """
    started = time.monotonic()
    own, kept = read_kept(config, store)
    halves = [part_of(kept, wanted) for wanted in (0, 1)]
    tried = list(candidates(kept.unit, kept.scores.shape[1], own))
    figures = [mean_log_ratio(halves[0], settings) for settings in tried]
    order = np.argsort(figures, kind="stable")
    best = tried[int(order[0])]
    found, before = mean_log_ratio(halves[1], best), mean_log_ratio(halves[1], own)
    rows = [[_named(tried[place]), change_of_log(figures[place])] for place in order[:_SHOWN].tolist()]
    text = [
        text_table(["weighting", "mean change on the half that chooses"], rows),
        f"best     {_named(best)}: {change_of_log(found)} on the other half; the run's own {_named(own)}:"
        f" {change_of_log(before)}",
        f"tried    {len(tried)} weightings in {time.monotonic() - started:.0f} s on {len(halves[0].documents)}"
        f" documents, {len(halves[1].documents)} held back; no language told",
    ]
    return {
        "tried": len(tried),
        "best": dict(asdict(best)),
        "chosen_on": {"documents": len(halves[0].documents), "mean_log_ratio": figures[int(order[0])]},
        "held_back": {"documents": len(halves[1].documents), "mean_log_ratio": found, "own_mean_log_ratio": before},
        "text": "\n".join(text),
    }


def candidates(unit: str, k: int, own: WeightingSettings) -> Iterator[WeightingSettings]:
    """The settings that are tried; rules by distance only where distances do not need the language told."""
    tops = [m for m in (0, 1, 2, 4) if m < k]
    for power in _POWERS:
        for forgetting in _FORGETTING:
            for top_m in tops:
                yield WeightingSettings(
                    "posterior", own.temperature, top_m, power, forgetting, own.drop_below, own.rescore_every
                )
    for name in (name for name, rule in RULES.items() if name not in ("posterior", "fixed")):
        by_distance = RULES[name].needs.distances
        if by_distance and unit == "language":
            continue
        for temperature in _TEMPERATURES if by_distance and name != "one_hot" else (own.temperature,):
            for top_m in tops:
                yield WeightingSettings(name, temperature, top_m)


def mean_log_ratio(kept: Kept, settings: WeightingSettings) -> float:
    """Mean over languages of log(ppl / ppl(dense)) of the mixture with these weights, no language told."""
    weights = document_weights(settings, kept.documents.length, kept.scores, kept.distances).weights
    gained = mix_log_probs(kept.scores, weights) - kept.dense
    langs = np.repeat(np.asarray(kept.documents.langs), kept.documents.length)
    return float(np.mean([-gained[langs == lang].mean() for lang in sorted(set(kept.documents.langs))]))


def read_kept(config: Config, store: Store) -> tuple[WeightingSettings, Kept]:
    """The run's own weighting (untold) and what is kept of it, through the configuration in its folder."""
    run = store.run(config.run.name)
    if not run.exists(CONFIG):
        raise MissingArtifact(f"{run.uri} holds no run; run {EVALUATE} with its config first, or name another (--run)")
    tree = yaml.safe_load(run.read(CONFIG))
    tree["artifacts"] = config.artifacts.model_dump()
    lineage = Lineage(load_config_tree(tree), store)
    allocator = load_allocator(lineage.allocation.finished().child(ALLOCATOR).read)
    models = {task.name: task.key for task in (*lineage.experts, *lineage.baselines)}
    loaded = {name: load_scores(lineage.scores(key).finished()) for name, key in models.items()}
    documents = loaded[DENSE][0]
    scores = np.stack([loaded[name][1].astype(np.float64) for name in allocator.experts], axis=1)
    distances = _distances(_evaluation(lineage), scores.shape)
    own = weighting_settings(lineage.config)
    if own.name == "auto" or (allocator.unit == "language" and own.name in RULES and RULES[own.name].needs.distances):
        own = WeightingSettings(**{**asdict(own), "name": "posterior"})
    return own, Kept(documents, scores, distances, loaded[DENSE][1].astype(np.float64), allocator.unit)


def _evaluation(lineage: Lineage) -> StageFolder:
    return lineage.store.stage("evaluation", made_stage(lineage.config, lineage.store, "evaluation"), EVALUATE)


def _distances(stage: StageFolder, shape: Sequence[int]) -> FloatArray:
    values: FloatArray = np.load(io.BytesIO(stage.read(DISTANCES)), allow_pickle=False).astype(np.float64)
    assert values.shape == tuple(shape)
    return values


def part_of(kept: Kept, half: int) -> Kept:
    """Every second document of each language in the order of a hash of their names, from the first or the second on."""
    documents, chosen = kept.documents, []
    for lang in sorted(set(documents.langs)):
        mine = [n for n, other in enumerate(documents.langs) if other == lang]
        chosen += sorted(mine, key=lambda n: derive_seed(0, "half", documents.doc_ids[n]))[half::2]
    places = [np.arange(documents.offset[n], documents.offset[n] + documents.length[n]) for n in chosen]
    tokens = np.concatenate(places) if places else np.zeros(0, dtype=np.int64)
    named = scored_documents(
        [documents.doc_ids[n] for n in chosen],
        [documents.langs[n] for n in chosen],
        documents.length[chosen].tolist(),
        documents.bytes[chosen].tolist(),
    )
    return Kept(named, kept.scores[tokens], kept.distances[tokens], kept.dense[tokens], kept.unit)


def _named(settings: WeightingSettings) -> str:
    """The settings that the rule looks at."""
    rule = RULES[settings.name]
    words = [settings.name]
    if rule.needs.distances and settings.name != "one_hot":
        words.append(f"T={settings.temperature:g}")
    if settings.name == "posterior":
        words += [f"power={settings.power:g}", f"forgetting={settings.forgetting:g}"]
    return " ".join([*words, *([f"top_m={settings.top_m}"] if settings.top_m else [])])
