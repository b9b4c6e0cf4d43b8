"""Per-language perplexity, its paired interval against another system, and who wins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from app.core.records import FloatArray, IntArray, JsonObject
from app.core.seeding import generator
from app.evaluation.scores import ScoredDocuments

_LEVEL = 0.95


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


def language_totals(documents: ScoredDocuments, values: FloatArray) -> dict[str, LanguageTotals]:
    """Sum a system's token log-probabilities (tokens,) per document, by language."""
    sums = np.add.reduceat(values, documents.offset) if len(documents) else np.zeros(0)
    langs = np.asarray(documents.langs)
    return {
        str(lang): LanguageTotals(sums[langs == lang], documents.length[langs == lang], documents.bytes[langs == lang])
        for lang in sorted(set(documents.langs))
    }


def bootstrap_interval(totals: LanguageTotals, samples: int, rng: np.random.Generator) -> tuple[float, float]:
    """95 % interval of the perplexity, by resampling documents (percentile bootstrap)."""
    draws = _resample(len(totals.tokens), samples, rng)
    values = np.exp(-(draws @ totals.log_prob) / (draws @ totals.tokens))
    return _quantiles(values)


def paired_interval(
    totals: LanguageTotals, other: LanguageTotals, samples: int, rng: np.random.Generator
) -> tuple[float, float]:
    """95 % interval of ppl / ppl(other) - 1 on the same documents: both are resampled together."""
    draws = _resample(len(totals.tokens), samples, rng)
    difference = (draws @ (other.log_prob - totals.log_prob)) / (draws @ totals.tokens)
    return _quantiles(np.exp(difference) - 1)


def compare(
    systems: Mapping[str, Mapping[str, LanguageTotals]],
    exposure: Mapping[str, Mapping[str, int]],
    samples: int,
    seed: int,
) -> dict[str, JsonObject]:
    """Language -> system -> figures. ``change_from_dense`` and ``change_from_seed`` are ppl / ppl(other) - 1."""
    table: dict[str, JsonObject] = {}
    for lang in sorted(next(iter(systems.values()))):
        row: JsonObject = {}
        for name, by_language in systems.items():
            totals = by_language[lang]
            low, high = bootstrap_interval(totals, samples, generator(seed, "bootstrap", lang))
            cell: JsonObject = {
                "perplexity": totals.perplexity,
                "bits_per_byte": totals.bits_per_byte,
                "low": low,
                "high": high,
                "exposure_tokens": exposure.get(name, {}).get(lang, 0),
            }
            for base in ("dense", "seed"):
                if name != base and base in systems:
                    cell |= _change(totals, systems[base][lang], base, samples, generator(seed, "bootstrap", lang))
            row[name] = cell
        table[lang] = row
    return table


def headline(table: Mapping[str, JsonObject], system: str) -> JsonObject:
    """Wins, clear wins and mean change of one system. A win is a lower perplexity, clear if the interval excludes 0."""

    def changes(base: str, part: str) -> list[float]:
        return [_number(row[system], f"{part}_from_{base}") for row in table.values()]

    dense = changes("dense", "change")
    return {
        "languages_compared": len(table),
        "wins_over_dense": sum(change < 0 for change in dense),
        "clear_wins_over_dense": sum(high < 0 for high in changes("dense", "high")),
        "wins_over_seed": sum(change < 0 for change in changes("seed", "change")),
        "clear_wins_over_seed": sum(high < 0 for high in changes("seed", "high")),
        "clear_losses_to_dense": sum(low > 0 for low in changes("dense", "low")),
        "mean_relative_perplexity_change": float(np.mean(dense)),
        "mean_log_perplexity_ratio": float(np.mean(np.log1p(dense))),
    }


def _change(
    totals: LanguageTotals, other: LanguageTotals, base: str, samples: int, rng: np.random.Generator
) -> JsonObject:
    low, high = paired_interval(totals, other, samples, rng)
    change = totals.perplexity / other.perplexity - 1
    return {f"change_from_{base}": change, f"low_from_{base}": low, f"high_from_{base}": high}


def _resample(n: int, samples: int, rng: np.random.Generator) -> FloatArray:
    """(samples, n) how often each of n documents is drawn."""
    return rng.multinomial(n, np.full(n, 1.0 / n), size=samples).astype(np.float64)


def _quantiles(values: FloatArray) -> tuple[float, float]:
    tail = (1 - _LEVEL) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def _number(cell: object, name: str) -> float:
    assert isinstance(cell, dict)
    return float(cell[name])

