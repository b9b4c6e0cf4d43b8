"""Per-language perplexity of each system, paired intervals against the models compared with, and who wins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from app.core.records import FloatArray, IntArray, JsonObject
from app.core.seeding import generator
from app.evaluation.totals import LanguageTotals

BASELINES = ("dense", "seed")
"""Each system is compared with these; wins are counted against the first."""
LEAST_DOCUMENTS = 20
"""Of fewer, the bootstrap's intervals are too narrow: with 6 documents 16.5 % of them miss the truth, with 60 5.1 %."""
FALSE_CLEAR = 0.05
"""Share of comparisons whose interval excludes 0 although nothing differs."""
_TAIL = FALSE_CLEAR / 2
# Counts that are drawn at once: 32 MB as float64.
_DRAWN_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Comparison:
    """Language -> system -> figures, and language -> (samples, systems) resampled log perplexities behind them.

    systems: in the order of the columns; baselines: names of those that the others are compared with, ``dense`` first.
    """

    systems: tuple[str, ...]
    baselines: tuple[str, ...]
    table: Mapping[str, JsonObject]
    resampled: Mapping[str, FloatArray]


def summarise(
    totals: Mapping[str, Mapping[str, LanguageTotals]],
    exposure: Mapping[str, Mapping[str, int]],
    samples: int,
    seed: int,
    ensemble: str = "ensemble",
    baselines: Sequence[str] = BASELINES,
) -> JsonObject:
    """The computed part of ``summary.json``: headline of the ensemble, headline of each system, per-language table.

    totals: system -> language -> its documents, the baselines among them. exposure: name -> language -> tokens.
    """
    comparison = compare(totals, exposure, samples, seed, baselines)
    enough = sum(lang.documents >= LEAST_DOCUMENTS for lang in next(iter(totals.values())).values())
    return {
        **headline(comparison, ensemble),
        "clear_needs_documents": LEAST_DOCUMENTS,
        "languages_with_enough_documents": enough,
        "expected_false_clear": FALSE_CLEAR * enough,
        "systems": {name: headline(comparison, name) for name in totals if name not in BASELINES},
        "per_language": dict(comparison.table),
    }


def compare(
    systems: Mapping[str, Mapping[str, LanguageTotals]],
    exposure: Mapping[str, Mapping[str, int]],
    samples: int,
    seed: int,
    baselines: Sequence[str] = BASELINES,
) -> Comparison:
    """Compare systems, each language -> totals, on the same resampled documents (or units: see ``LanguageTotals``).

    ``low`` and ``high``: 95 % interval of the perplexity. For each baseline ``change_from_<baseline>`` is
    ppl / ppl(baseline) - 1 with its paired interval ``low_from_``, ``high_from_``; ``clear_from_`` says that the
    interval excludes 0 and that there are enough documents (``LEAST_DOCUMENTS``) for it to mean something.
    """
    table: dict[str, JsonObject] = {}
    resampled: dict[str, FloatArray] = {}
    for lang in sorted(next(iter(systems.values()))):
        totals = {name: by_language[lang] for name, by_language in systems.items()}
        # (documents, systems)
        log_probs = np.stack([figures.log_prob for figures in totals.values()], axis=1)
        tokens = next(iter(totals.values())).tokens
        # A stream for each language: its interval does not change with the languages or systems beside it.
        rng = generator(seed, "bootstrap", lang)
        resampled[lang] = resampled_log_perplexities(log_probs, tokens, samples, rng)
        seen = {name: counts.get(lang, 0) for name, counts in exposure.items()}
        table[lang] = _compare_language(totals, seen, resampled[lang], baselines)
    return Comparison(tuple(systems), tuple(baselines), table, resampled)


def headline(comparison: Comparison, system: str) -> JsonObject:
    """Wins, clear wins and mean change of one system. A win is a lower perplexity.

    ``mean_log_perplexity_ratio`` is the mean over languages of log(ppl / ppl(dense)), with the 95 % interval of a
    paired bootstrap over the documents of each language; ``against``: the same against the further baselines.
    """
    dense, seed = (_against(comparison, system, base) for base in BASELINES)
    further = {
        base: _against(comparison, system, base) for base in comparison.baselines if base not in (*BASELINES, system)
    }
    changes = [_number(row[system], "change_from_dense") for row in comparison.table.values()]
    return {
        "languages_compared": len(comparison.table),
        "wins_over_dense": dense["wins"],
        "clear_wins_over_dense": dense["clear_wins"],
        "clear_losses_to_dense": dense["clear_losses"],
        "wins_over_seed": seed["wins"],
        "clear_wins_over_seed": seed["clear_wins"],
        "mean_relative_perplexity_change": float(np.mean(changes)),
        **{name: dense[name] for name in _MEANS},
        "against": further,
    }


_MEANS = ("mean_log_perplexity_ratio", "mean_log_perplexity_ratio_low", "mean_log_perplexity_ratio_high")


def _against(comparison: Comparison, system: str, base: str) -> JsonObject:
    """Wins and the mean log ratio, with its interval, of a system against one model."""
    cells = [row[system] for row in comparison.table.values()]
    change = np.asarray([_number(cell, f"change_from_{base}") for cell in cells])
    clear = np.asarray([_number(cell, f"clear_from_{base}") for cell in cells]) > 0
    mine, theirs = comparison.systems.index(system), comparison.systems.index(base)
    # (samples,): the same draws for both systems, so what is hard in a document falls out of the difference.
    drawn = np.mean([values[:, mine] - values[:, theirs] for values in comparison.resampled.values()], axis=0)
    means = (float(np.log1p(change).mean()), *_interval(drawn))
    return {
        "wins": int((change < 0).sum()),
        "clear_wins": int((clear & (change < 0)).sum()),
        "clear_losses": int((clear & (change > 0)).sum()),
        **dict(zip(_MEANS, means, strict=True)),
    }


def resampled_log_perplexities(
    log_probs: FloatArray, tokens: IntArray, samples: int, rng: np.random.Generator
) -> FloatArray:
    """(samples, systems): log perplexity of each system on the same resampled documents (bootstrap).

    log_probs: (documents, systems) nats; tokens: (documents,). Memory is bounded whatever the number of documents.
    """
    n = len(tokens)
    parts = []
    at_once = max(1, _DRAWN_AT_ONCE // n)
    for start in range(0, samples, at_once):
        # (samples, documents): how often each document is drawn. With counts a resample of all systems is one product.
        draws = rng.multinomial(n, np.full(n, 1.0 / n), size=min(at_once, samples - start)).astype(np.float64)
        # Tokens are resampled along: a perplexity weighs tokens, and documents differ in length.
        parts.append(-(draws @ log_probs) / (draws @ tokens)[:, None])
    return np.concatenate(parts)


def _compare_language(
    totals: Mapping[str, LanguageTotals],
    exposure: Mapping[str, int],
    resampled: FloatArray,
    baselines: Sequence[str],
) -> JsonObject:
    names = list(totals)
    documents = totals[names[0]].documents
    row: JsonObject = {}
    for place, name in enumerate(names):
        low, high = _interval(np.exp(resampled[:, place]))
        cell: JsonObject = {
            "perplexity": totals[name].perplexity,
            "bits_per_byte": totals[name].bits_per_byte,
            "low": low,
            "high": high,
            "documents": documents,
            "exposure_tokens": exposure.get(name, 0),
        }
        for base in baselines:
            if name != base and base in totals:
                low, high = _interval(np.expm1(resampled[:, place] - resampled[:, names.index(base)]))
                cell[f"change_from_{base}"] = totals[name].perplexity / totals[base].perplexity - 1
                cell |= {f"low_from_{base}": low, f"high_from_{base}": high}
                cell[f"clear_from_{base}"] = documents >= LEAST_DOCUMENTS and (high < 0 or low > 0)
        row[name] = cell
    return row


def _interval(values: FloatArray) -> tuple[float, float]:
    low, high = np.quantile(values, [_TAIL, 1 - _TAIL])
    return float(low), float(high)


def _number(cell: object, name: str) -> float:
    assert isinstance(cell, dict)
    return float(cell[name])
