"""Weightings of a run's experts compared on the log-probabilities and distances that evaluation has kept.

Hundreds are computed at once (``app.ensemble.many``), with the figure that running the models would give each.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import yaml

from app.allocation.storage import load_allocator
from app.artifacts.counts import ScoresCounts
from app.artifacts.layout import ALLOCATOR, CONFIG, distances_name
from app.artifacts.store import StageFolder, Store
from app.config.load import load_config_tree
from app.config.schema import Config
from app.core.errors import MissingArtifact
from app.core.records import FloatArray, JsonObject
from app.core.seeding import derive_seed
from app.ensemble.many import Candidate, Prior, document_log_probs
from app.ensemble.prior import fit_prior
from app.ensemble.rules import RULES, WeightingSettings
from app.evaluation.scores import ScoredDocuments, joined, read_array, read_blocks, scored_documents
from app.evaluation.systems import DENSE
from app.lineage.adapted import made_stage
from app.lineage.inputs import EVALUATE
from app.lineage.lineage import Lineage
from app.lineage.parts import Part, read_parts
from app.lineage.settings import weighting_settings
from app.pipelines.evaluate import language_shares
from app.reporting.tables import change_of_log, text_table
from app.tokens.dataset import TokenCorpus

_TEMPERATURES = tuple(round(0.01 * 10 ** (step / 6), 4) for step in range(13))
_POWERS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.2, 1.5, 2.0, 3.0)
_FORGETTING = (0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.997, 0.999, 1.0)
_TOPS = (0, 1, 2, 4)
_SHOWN = 10


@dataclass(frozen=True)
class Kept:
    """What is kept of a run. scores, distances: (tokens, k); dense: (tokens,) nats; unit: of the allocation.

    shares: language -> share of its training text that each expert holds.
    """

    documents: ScoredDocuments
    scores: FloatArray
    distances: FloatArray
    dense: FloatArray
    unit: str
    shares: Mapping[str, Prior]


def best_weighting(config: Config, store: Store) -> JsonObject:
    """The weighting that is best on one half of the documents, with its figure on the other half beside the run's own.

    Raises MissingArtifact where the run is not evaluated.
    """
    own, kept, priors = read_kept(config, store)
    halves = [part_of(kept, wanted) for wanted in (0, 1)]
    priors["em"] = fitted_prior(halves[0])
    tried = list(candidates(kept.unit, kept.scores.shape[1], own, priors))
    started = time.monotonic()
    figures = mean_log_ratios(halves[0], tried)
    seconds = time.monotonic() - started
    order = np.argsort(figures, kind="stable")
    best = tried[int(order[0])]
    found, before = mean_log_ratios(halves[1], [best, Candidate(own)]).tolist()
    told = told_priors(halves, best.settings if best.settings.name == "posterior" else WeightingSettings())
    names = {prior: name for name, prior in reversed(priors.items())}
    rows = [[_named(tried[place], names), change_of_log(figures[place])] for place in order[:_SHOWN].tolist()]
    text = [
        text_table(["weighting", "mean change on the half that chooses"], rows),
        f"best     {_named(best, names)}: {change_of_log(found)} on the other half; the run's own"
        f" {_named(Candidate(own), names)}: {change_of_log(before)}",
        f"tried    {len(tried)} weightings in {seconds:.1f} s ({len(tried) / seconds:.0f} a second) on"
        f" {len(halves[0].documents)} documents of {halves[0].documents.num_tokens} tokens,"
        f" {len(halves[1].documents)} held back; no language told",
        f"told     the posterior from a prior of each document's language, on the other half: {_told_text(told)}",
    ]
    return {
        "tried": len(tried),
        "seconds": seconds,
        "settings_per_second": len(tried) / seconds,
        "best": {**asdict(best.settings), "prior": names[best.prior]},
        "prior": list(best.prior) if best.prior else None,
        "chosen_on": {"documents": len(halves[0].documents), "mean_log_ratio": float(figures[order[0]])},
        "held_back": {"documents": len(halves[1].documents), "mean_log_ratio": found, "own_mean_log_ratio": before},
        "told": told,
        "text": "\n".join(text),
    }


def candidates(
    unit: str, k: int, own: WeightingSettings, priors: Mapping[str, Prior] | None = None
) -> Iterator[Candidate]:
    """What is tried; rules by distance only where distances do not need the language told. priors: by name."""
    tops = [m for m in _TOPS if m < k]
    different = list(dict.fromkeys((priors or {"uniform": None}).values()))
    for prior, power, forgetting, top_m in itertools.product(different, _POWERS, _FORGETTING, tops):
        numbers = (top_m, power, forgetting, own.drop_below, own.rescore_every)
        yield Candidate(WeightingSettings("posterior", own.temperature, *numbers), prior)
    for name, rule in RULES.items():
        if name == "posterior" or (rule.needs.distances and unit == "language"):
            continue
        temperatures = _TEMPERATURES if rule.needs.distances and name != "one_hot" else (own.temperature,)
        from_priors: list[Prior] = different if rule.uses_prior else [None]
        if name == "fixed":
            from_priors = [prior for prior in different if prior is not None]  # an equal one is ``uniform``
        for prior, temperature, top_m in itertools.product(from_priors, temperatures, tops):
            yield Candidate(WeightingSettings(name, temperature, top_m), prior)


def told_priors(halves: Sequence[Kept], settings: WeightingSettings) -> JsonObject:
    """The posterior where the language of each document is told: from a prior of that language, fitted by EM on the
    first half, and from the shares of its training text that the experts hold.

    ``em`` and ``shares``: mean log ratio to dense on the second half; ``priors``: language -> weight of each expert.
    """
    fitted = {}
    for lang, part in _by_language(halves[0]).items():
        fitted[lang] = fit_prior(np.add.reduceat(part.scores, part.documents.offset)).prior.tolist()
    parts = _by_language(halves[1])
    found: JsonObject = {"priors": dict(fitted)}
    for name, priors in (("em", fitted), ("shares", halves[1].shares)):
        told = [mean_log_ratios(part, [Candidate(settings, tuple(priors[lang] or ()))]) for lang, part in parts.items()]
        found[name] = float(np.mean(told))
    return found


def _by_language(kept: Kept) -> dict[str, Kept]:
    langs = np.asarray(kept.documents.langs)
    return {lang: _only(kept, np.flatnonzero(langs == lang).tolist()) for lang in sorted(set(kept.documents.langs))}


def _told_text(told: JsonObject) -> str:
    em, shares = (change_of_log(float(str(told[name]))) for name in ("em", "shares"))
    return f"fitted by EM {em}; shares of training text {shares}"


def mean_log_ratios(kept: Kept, tried: Sequence[Candidate]) -> FloatArray:
    """(S,) mean over languages of log(ppl / ppl(dense)) of the mixture under each weighting, no language told."""
    documents, langs = kept.documents, np.asarray(kept.documents.langs)
    gained = document_log_probs(tried, documents.length, kept.scores, kept.distances)
    gained -= np.add.reduceat(kept.dense, documents.offset)
    by_language = [
        -gained[:, langs == lang].sum(axis=1) / documents.length[langs == lang].sum() for lang in sorted(set(langs))
    ]
    mean: FloatArray = np.mean(by_language, axis=0)
    return mean


def read_kept(config: Config, store: Store) -> tuple[WeightingSettings, Kept, dict[str, Prior]]:
    """The run's own weighting (untold), what is kept of it, and the priors to try, through the config in its folder."""
    run = store.run(config.run.name)
    if not run.exists(CONFIG):
        raise MissingArtifact(f"{run.uri} holds no run; run {EVALUATE} with its config first, or name another (--run)")
    tree = yaml.safe_load(run.read(CONFIG))
    tree["artifacts"] = config.artifacts.model_dump()
    lineage = Lineage(load_config_tree(tree), store)
    allocator = load_allocator(lineage.allocation.finished().child(ALLOCATOR).read)
    models = {task.name: task.key for task in (*lineage.experts, *lineage.baselines)}
    stages = {name: lineage.scores(key).finished() for name, key in models.items()}
    block = joined(read_blocks(stages))
    scores = np.stack([block.log_probs[name].astype(np.float64) for name in allocator.experts], axis=1)
    distances = _distances(_evaluation(lineage), stages[DENSE].counts(ScoresCounts).blocks)
    assert distances.shape == scores.shape
    own = weighting_settings(lineage.config)
    if own.name == "auto" or (allocator.unit == "language" and own.name in RULES and RULES[own.name].needs.distances):
        own = WeightingSettings(**{**asdict(own), "name": "posterior"})
    shares = {lang: tuple(held.tolist()) for lang, held in language_shares(lineage).items()}
    kept = Kept(block.documents, scores, distances, block.log_probs[DENSE].astype(np.float64), allocator.unit, shares)
    return own, kept, part_priors(lineage)


def fitted_prior(kept: Kept) -> Prior:
    """The prior under which these documents are most likely (``app.ensemble.prior``)."""
    return tuple(fit_prior(np.add.reduceat(kept.scores, kept.documents.offset)).prior.tolist())


def part_priors(lineage: Lineage) -> dict[str, Prior]:
    """Name -> prior: equal weights, and each expert's share of the text that all hold, in tokens and in documents."""
    priors: dict[str, Prior] = {"uniform": None}
    parts = read_parts(lineage.allocation.finished(), lineage.token_corpus)
    held = {
        "tokens": [sum(part.tokens.values()) for part in parts],
        "documents": documents_held(lineage.allocation.finished(), lineage.token_corpus, parts),
    }
    return priors | {name: tuple(count / sum(counts) for count in counts) for name, counts in held.items()}


def documents_held(allocation: StageFolder, corpus: TokenCorpus, parts: Sequence[Part]) -> list[int]:
    """Training documents of each expert: as assigned, or all of its languages."""
    assigned = allocation.manifest().counts.get("documents_per_expert")
    if isinstance(assigned, list):
        return [int(str(count)) for count in assigned]
    return [sum(corpus.counts.documents(lang, "train") for lang in part.tokens) for part in parts]


def _evaluation(lineage: Lineage) -> StageFolder:
    return lineage.store.stage("evaluation", made_stage(lineage.config, lineage.store, "evaluation"), EVALUATE)


def _distances(stage: StageFolder, blocks: int) -> FloatArray:
    parts = [read_array(stage, distances_name(block)) for block in range(blocks)]
    return np.concatenate(parts).astype(np.float64)


def part_of(kept: Kept, half: int) -> Kept:
    """Every second document of each language in the order of a hash of their names, from the first or the second on."""
    documents, chosen = kept.documents, []
    for lang in sorted(set(documents.langs)):
        mine = [n for n, other in enumerate(documents.langs) if other == lang]
        chosen += sorted(mine, key=lambda n: derive_seed(0, "half", documents.doc_ids[n]))[half::2]
    return _only(kept, chosen)


def _only(kept: Kept, chosen: Sequence[int]) -> Kept:
    """Some of the documents, in this order."""
    documents = kept.documents
    places = [np.arange(documents.offset[n], documents.offset[n] + documents.length[n]) for n in chosen]
    tokens = np.concatenate(places) if places else np.zeros(0, dtype=np.int64)
    named = scored_documents(
        [documents.doc_ids[n] for n in chosen],
        [documents.langs[n] for n in chosen],
        documents.length[list(chosen)].tolist(),
        documents.bytes[list(chosen)].tolist(),
    )
    return Kept(named, kept.scores[tokens], kept.distances[tokens], kept.dense[tokens], kept.unit, kept.shares)


def _named(candidate: Candidate, names: Mapping[Prior, str]) -> str:
    """The settings that the rule looks at."""
    settings, rule = candidate.settings, RULES[candidate.settings.name]
    words = [settings.name]
    if rule.needs.distances and settings.name != "one_hot":
        words.append(f"T={settings.temperature:g}")
    if settings.name == "posterior":
        words += [f"power={settings.power:g}", f"forgetting={settings.forgetting:g}"]
    if candidate.prior:
        words.append(f"prior={names[candidate.prior]}")
    return " ".join([*words, *([f"top_m={settings.top_m}"] if settings.top_m else [])])
