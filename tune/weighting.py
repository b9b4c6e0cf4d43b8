"""Weightings of a run's experts compared on the log-probabilities and distances that evaluation has kept.

Hundreds are computed at once (``app.ensemble.many``), with the figure that running the models would give each.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

import numpy as np

from app.artifacts.store import Store
from app.config.schema import Config
from app.core.errors import ConfigError
from app.core.records import FloatArray, JsonObject
from app.ensemble.many import Candidate, Prior, document_log_probs
from app.ensemble.prior import fit_prior
from app.ensemble.rules import RULES, WeightingSettings
from app.reporting.tables import change_of_log, text_table
from tune.kept import Kept, read_kept

_TEMPERATURES = tuple(round(0.01 * 10 ** (step / 6), 4) for step in range(13))  # 0.01 to 1, evenly in the log
_POWERS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.2, 1.5, 2.0, 3.0)
_FORGETTING = (0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.997, 0.999, 1.0)
_TOPS = (0, 1, 2, 4)
_SHOWN = 10


def best_weighting(config: Config, store: Store) -> JsonObject:
    """The weighting that is best on one half of the documents, with its figure on the other half beside the run's own.

    Raises MissingArtifact where the run is not evaluated, ConfigError where it has too few documents for two halves.
    """
    own, kept, priors = read_kept(config, store)
    halves, left_out = halved(kept)
    priors["em"] = fitted_prior(halves[0])
    tried = list(candidates(kept.unit, kept.scores.shape[1], own, priors))
    started = time.monotonic()
    figures = mean_log_ratios(halves[0], tried)
    seconds = time.monotonic() - started
    # Stable: of equal figures the first that was tried is taken.
    order = np.argsort(figures, kind="stable")
    best = tried[int(order[0])]
    found, before = mean_log_ratios(halves[1], [best, Candidate(own)]).tolist()
    told = told_priors(halves, best.settings if best.settings.name == "posterior" else WeightingSettings())
    # Backwards, so that of equal priors the first name stays.
    names = {prior: name for name, prior in reversed(priors.items())}
    rows = [[_named(tried[place], names), change_of_log(figures[place])] for place in order[:_SHOWN].tolist()]
    text = [
        text_table(["weighting", "mean change on the half that chooses"], rows),
        f"best     {_named(best, names)}: {change_of_log(found)} on the other half; the run's own"
        f" {_named(Candidate(own), names)}: {change_of_log(before)}",
        f"tried    {len(tried)} weightings in {seconds:.1f} s ({len(tried) / seconds:.0f} a second) on"
        f" {len(halves[0].documents)} documents of {halves[0].documents.num_tokens} tokens,"
        f" {len(halves[1].documents)} held back{_drawn_text(kept)}; no language told",
        f"told     the posterior from a prior of each document's language, on the other half: {_told_text(told)}",
    ]
    if left_out:
        text.append(f"left out {', '.join(left_out)}: a single document, which has no halves")
    return {
        "left_out": list(left_out),
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


def halved(kept: Kept) -> tuple[list[Kept], list[str]]:
    """Both halves of the documents, and the languages that are in neither, since they have a single document.

    Raises ConfigError if every language has.
    """
    counts = Counter(kept.documents.langs)
    single = sorted(lang for lang, count in counts.items() if count == 1)
    if len(single) == len(counts):
        raise ConfigError(
            f"one document of {', '.join(single)} was scored, and a weighting is chosen on one half and reported on the"
            " other: evaluate the run again with evaluation.max_documents_per_language=2 or more, and text enough"
        )
    several = kept.only([n for n, lang in enumerate(kept.documents.langs) if counts[lang] > 1])
    return [several.half(half) for half in (0, 1)], single


def candidates(
    unit: str, k: int, own: WeightingSettings, priors: Mapping[str, Prior] | None = None
) -> Iterator[Candidate]:
    """What is tried; rules by distance only where distances do not need the language told. priors: by name."""
    # k or more is the same as all, which is 0.
    tops = [m for m in _TOPS if m < k]
    # Priors of several names may be equal, and each is tried once.
    different = list(dict.fromkeys((priors or {"uniform": None}).values()))
    for prior, power, forgetting, top_m in itertools.product(different, _POWERS, _FORGETTING, tops):
        numbers = (top_m, power, forgetting, own.drop_below, own.rescore_every)
        yield Candidate(WeightingSettings("posterior", own.temperature, *numbers), prior)
    for name, rule in RULES.items():
        if name == "posterior" or (rule.needs.distances and unit == "language"):
            continue
        # The nearest expert is the nearest at every temperature.
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
    for lang, part in halves[0].by_language().items():
        # reduceat sums the tokens of each document: (D, k) nats.
        fitted[lang] = fit_prior(np.add.reduceat(part.scores, part.documents.offset)).prior.tolist()
    parts = halves[1].by_language()
    found: JsonObject = {"priors": dict(fitted)}
    for name, priors in (("em", fitted), ("shares", halves[1].shares)):
        told = [mean_log_ratios(part, [Candidate(settings, tuple(priors[lang] or ()))]) for lang, part in parts.items()]
        found[name] = float(np.mean(told))
    return found


def _drawn_text(kept: Kept) -> str:
    all_of_them = len(kept.documents) == kept.of
    return "" if all_of_them else f", drawn from {kept.of} by a hash of their names, as many as fit in memory"


def _told_text(told: JsonObject) -> str:
    em, shares = (change_of_log(float(str(told[name]))) for name in ("em", "shares"))
    return f"fitted by EM {em}; shares of training text {shares}"


def mean_log_ratios(kept: Kept, tried: Sequence[Candidate]) -> FloatArray:
    """(S,) mean over languages of log(ppl / ppl(dense)) of the mixture under each weighting, no language told."""
    documents, langs = kept.documents, np.asarray(kept.documents.langs)
    # (S, D): weightings by documents.
    gained = document_log_probs(tried, documents.length, kept.scores, kept.distances)
    gained -= np.add.reduceat(kept.dense, documents.offset)
    by_language = [
        -gained[:, langs == lang].sum(axis=1) / documents.length[langs == lang].sum() for lang in sorted(set(langs))
    ]
    mean: FloatArray = np.mean(by_language, axis=0)
    return mean


def fitted_prior(kept: Kept) -> Prior:
    """The prior under which these documents are most likely (``app.ensemble.prior``)."""
    return tuple(fit_prior(np.add.reduceat(kept.scores, kept.documents.offset)).prior.tolist())


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
