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
from tune.detected import BEGINNING, detected_languages
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
    posterior = best.settings if best.settings.name == "posterior" else WeightingSettings()
    told = told_priors(halves, posterior, detected_languages(config, store, kept.documents.doc_ids))
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


def told_priors(halves: Sequence[Kept], settings: WeightingSettings, detected: Mapping[str, str]) -> JsonObject:
    """The posterior from a prior of each document's language: as told, and as detected (name of a document ->
    language; equal weights for those that are not in it, or in a language that the first half does not have).

    ``em`` and ``shares``: mean log ratio to dense on the second half where the language is told, from a prior of it
    fitted by EM on the first half, and from the shares of its training text that the experts hold; ``priors``:
    language -> weight of each expert, by EM. ``detected``: as ``em`` from detected languages; None where there are
    none. ``detected_right``: share of documents, of both halves, whose own language was detected.
    """
    fitted = _fitted(halves[0], halves[0].documents.langs)
    langs = halves[1].documents.langs
    found: JsonObject = {
        "priors": {lang: list(prior or ()) for lang, prior in fitted.items()},
        "em": _figure(halves[1], langs, settings, fitted),
        "shares": _figure(halves[1], langs, settings, halves[1].shares),
        "detected": None,
    }
    if detected:
        looks = [[detected.get(name, "") for name in half.documents.doc_ids] for half in halves]
        found["detected"] = _figure(halves[1], looks[1], settings, {**_fitted(halves[0], looks[0]), "": None})
        own = [half.documents.langs for half in halves]
        found["detected_right"] = float(np.mean(np.concatenate(looks) == np.concatenate(own)))
    return found


def _fitted(kept: Kept, groups: Sequence[str]) -> dict[str, Prior]:
    """Group of documents -> the prior by EM of its documents. groups: of each document."""
    return {group: fitted_prior(part) for group, _, part in _parts(kept, groups)}


def _figure(kept: Kept, groups: Sequence[str], settings: WeightingSettings, priors: Mapping[str, Prior]) -> float:
    """Mean log ratio to dense where each document is weighted from the prior of its group."""
    gained = np.empty((1, len(kept.documents)))
    for group, places, part in _parts(kept, groups):
        gained[:, places] = _gains(part, [Candidate(settings, priors.get(group))])
    return _language_mean(kept, gained).item()


def _parts(kept: Kept, groups: Sequence[str]) -> Iterator[tuple[str, list[int], Kept]]:
    """Group, places of its documents, what is kept of them."""
    for group in sorted(set(groups)):
        places = [place for place, other in enumerate(groups) if other == group]
        yield group, places, kept.only(places)


def _drawn_text(kept: Kept) -> str:
    all_of_them = len(kept.documents) == kept.of
    return "" if all_of_them else f", drawn from {kept.of} by a hash of their names, as many as fit in memory"


def _told_text(told: JsonObject) -> str:
    em, shares = (change_of_log(float(str(told[name]))) for name in ("em", "shares"))
    text = f"fitted by EM {em}; shares of training text {shares}"
    if told["detected"] is None:
        return text
    detected, right = change_of_log(float(str(told["detected"]))), float(str(told["detected_right"]))
    return (
        f"{text}; fitted by EM, of the language detected in the first {BEGINNING} tokens ({right:.1%} right) {detected}"
    )


def mean_log_ratios(kept: Kept, tried: Sequence[Candidate]) -> FloatArray:
    """(S,) mean over languages of log(ppl / ppl(dense)) of the mixture under each weighting, no language told."""
    return _language_mean(kept, _gains(kept, tried))


def _gains(kept: Kept, tried: Sequence[Candidate]) -> FloatArray:
    """(S, D) nats that each weighting gains over dense on each document."""
    documents = kept.documents
    gained = document_log_probs(tried, documents.length, kept.scores, kept.distances)
    gained -= np.add.reduceat(kept.dense, documents.offset)
    return gained


def _language_mean(kept: Kept, gained: FloatArray) -> FloatArray:
    """(S,) mean over languages of log(ppl / ppl(dense)). gained: (S, D) nats of each document."""
    length, langs = kept.documents.length, np.asarray(kept.documents.langs)
    by_language = [
        -gained[:, langs == lang].sum(axis=1) / length[langs == lang].sum()
        for lang in sorted(set(kept.documents.langs))
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
