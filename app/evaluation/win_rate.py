"""Per-language perplexity of each system, paired intervals against dense and seed, and who wins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from app.core.records import FloatArray, IntArray, JsonObject
from app.core.seeding import generator
from app.evaluation.scores import ScoredDocuments

BASELINES = ("dense", "seed")
_TAIL = 0.025
_LEAST_DOCUMENTS = 6  # of fewer, even differences of one sign have p > 0.05 (sign test)
_DRAWN_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class LanguageTotals:
    """Documents of one language under one system: log-probability (nats), tokens and bytes of each, (n,)."""

    log_prob: FloatArray
    tokens: IntArray
    bytes: IntArray

    @property
    def perplexity(self) -> float:
        """exp of the mean negative log-probability per token."""
        return float(np.exp(-self.log_prob.sum() / self.tokens.sum()))

    @property
    def bits_per_byte(self) -> float:
        """-log2 p(text) / UTF-8 bytes of the text."""
        return float(-self.log_prob.sum() / np.log(2) / self.bytes.sum())


def summarise(
    documents: ScoredDocuments,
    systems: Mapping[str, FloatArray],
    exposure: Mapping[str, Mapping[str, int]],
    samples: int,
    seed: int,
    ensemble: str = "ensemble",
) -> JsonObject:
    """The computed part of ``summary.json``: headline of the ensemble, headline of each system, per-language table.

    systems: name -> (tokens,) nats, ``dense`` and ``seed`` among them. exposure: name -> language -> training tokens.
    """
    totals = {name: language_totals(documents, values) for name, values in systems.items()}
    table = compare(totals, exposure, samples, seed)
    return {
        **headline(table, ensemble),
        "systems": {name: headline(table, name) for name in systems if name not in BASELINES},
        "per_language": dict(table),
    }


def language_totals(documents: ScoredDocuments, values: FloatArray) -> dict[str, LanguageTotals]:
    """Sum a system's token log-probabilities (tokens,) per document, by language."""
    sums = np.add.reduceat(values, documents.offset) if len(documents) else np.zeros(0)
    langs = np.asarray(documents.langs)
    totals = {}
    for lang in sorted(set(documents.langs)):
        mine = langs == lang
        totals[lang] = LanguageTotals(sums[mine], documents.length[mine], documents.bytes[mine])
    return totals


def compare(
    systems: Mapping[str, Mapping[str, LanguageTotals]],
    exposure: Mapping[str, Mapping[str, int]],
    samples: int,
    seed: int,
) -> dict[str, JsonObject]:
    """Language -> system -> figures.

    ``low`` and ``high``: 95 % interval of the perplexity. For each baseline ``change_from_<baseline>`` is
    ppl / ppl(baseline) - 1 with its paired interval ``low_from_``, ``high_from_``; ``clear_from_`` says that the
    interval excludes 0 and that there are enough documents for it to mean something.
    """
    return {
        lang: _compare_language(
            {name: by_language[lang] for name, by_language in systems.items()},
            {name: tokens.get(lang, 0) for name, tokens in exposure.items()},
            samples,
            generator(seed, "bootstrap", lang),
        )
        for lang in sorted(next(iter(systems.values())))
    }


def headline(table: Mapping[str, JsonObject], system: str) -> JsonObject:
    """Wins, clear wins and mean change of one system. A win is a lower perplexity."""

    def column(name: str) -> FloatArray:
        return np.asarray([_number(row[system], name) for row in table.values()])

    dense, seed = column("change_from_dense"), column("change_from_seed")
    clear_of_dense, clear_of_seed = column("clear_from_dense") > 0, column("clear_from_seed") > 0
    return {
        "languages_compared": len(table),
        "wins_over_dense": int((dense < 0).sum()),
        "clear_wins_over_dense": int((clear_of_dense & (dense < 0)).sum()),
        "clear_losses_to_dense": int((clear_of_dense & (dense > 0)).sum()),
        "wins_over_seed": int((seed < 0).sum()),
        "clear_wins_over_seed": int((clear_of_seed & (seed < 0)).sum()),
        "mean_relative_perplexity_change": float(dense.mean()),
        "mean_log_perplexity_ratio": float(np.log1p(dense).mean()),
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
        draws = rng.multinomial(n, np.full(n, 1.0 / n), size=min(at_once, samples - start)).astype(np.float64)
        parts.append(-(draws @ log_probs) / (draws @ tokens)[:, None])
    return np.concatenate(parts)


def _compare_language(
    totals: Mapping[str, LanguageTotals], exposure: Mapping[str, int], samples: int, rng: np.random.Generator
) -> JsonObject:
    names = list(totals)
    documents = totals[names[0]]
    log_probs = np.stack([totals[name].log_prob for name in names], axis=1)
    resampled = resampled_log_perplexities(log_probs, documents.tokens, samples, rng)
    row: JsonObject = {}
    for place, name in enumerate(names):
        low, high = _interval(np.exp(resampled[:, place]))
        cell: JsonObject = {
            "perplexity": totals[name].perplexity,
            "bits_per_byte": totals[name].bits_per_byte,
            "low": low,
            "high": high,
            "documents": len(documents.tokens),
            "exposure_tokens": exposure.get(name, 0),
        }
        for base in BASELINES:
            if name != base and base in totals:
                low, high = _interval(np.expm1(resampled[:, place] - resampled[:, names.index(base)]))
                cell[f"change_from_{base}"] = totals[name].perplexity / totals[base].perplexity - 1
                cell |= {f"low_from_{base}": low, f"high_from_{base}": high}
                cell[f"clear_from_{base}"] = len(documents.tokens) >= _LEAST_DOCUMENTS and (high < 0 or low > 0)
        row[name] = cell
    return row


def _interval(values: FloatArray) -> tuple[float, float]:
    low, high = np.quantile(values, [_TAIL, 1 - _TAIL])
    return float(low), float(high)


def _number(cell: object, name: str) -> float:
    assert isinstance(cell, dict)
    return float(cell[name])
