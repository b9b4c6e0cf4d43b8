"""Similar languages together against apart: two cuts of one text, by how near each language's company is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.allocation.likeness import correlated
from app.core.records import JsonObject
from app.evaluation.systems import DENSE, SEED
from app.evaluation.totals import LanguageTotals
from app.evaluation.win_rate import compare, headline

_OTHER, _THIS = "other", "this"


def company(clusters: Sequence[Sequence[str]], distances: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Language -> mean distance to those that share its expert; one without company or features is left out."""
    found = {}
    for cluster in clusters:
        known = [lang for lang in cluster if lang in distances]
        for lang in known:
            others = [distances[lang][other] for other in known if other != lang]
            if others:
                found[lang] = sum(others) / len(others)
    return found


@dataclass(frozen=True)
class Cut:
    """A run's cut. clusters: languages of each expert. told: the ensemble told the language, dense and seed, each
    language -> totals over the same documents.
    """

    clusters: Sequence[Sequence[str]]
    told: Mapping[str, LanguageTotals]
    dense: Mapping[str, LanguageTotals]
    seed: Mapping[str, LanguageTotals]


def together_against_apart(
    this: Cut, other: Cut, distances: Mapping[str, Mapping[str, float]], samples: int, seed: int
) -> JsonObject:
    """``company`` and ``other_company`` (mean distance over languages), wins and mean log ratio of this cut's ensemble
    to the other's with the paired interval, ``rows`` (language, both distances, log ratio), and ``correlation`` over
    ``cases`` of how much farther a language's company is here with how much more it loses here: positive where nearer
    company is better. samples, seed: of the bootstrap.
    """
    systems = {DENSE: this.dense, SEED: this.seed, _OTHER: other.told, _THIS: this.told}
    # A headline always needs dense and seed; the other cut is one baseline more.
    comparison = compare(systems, {}, samples, seed, (DENSE, SEED, _OTHER))
    against = headline(comparison, _THIS)["against"]
    assert isinstance(against, dict)
    near, far = company(this.clusters, distances), company(other.clusters, distances)
    rows: list[JsonObject] = []
    for lang in comparison.table:
        ratio = this.told[lang].nats_per_token - other.told[lang].nats_per_token
        rows.append({"lang": lang, "company": near.get(lang), "other_company": far.get(lang), "log_ratio": ratio})
    both = [lang for lang in comparison.table if lang in near and lang in far]
    pairs = [
        (near[lang] - far[lang], this.told[lang].nats_per_token - other.told[lang].nats_per_token) for lang in both
    ]
    # One group of all languages: each has one pair here, so there is no mean of its own to take away.
    found = correlated({"": pairs})
    return {
        **against[_OTHER],
        "company": _mean(near),
        "other_company": _mean(far),
        # JSON has no NaN.
        "correlation": None if found.correlation != found.correlation else found.correlation,
        "cases": found.cases,
        "rows": list(rows),
    }


def _mean(values: Mapping[str, float]) -> float | None:
    return sum(values.values()) / len(values) if values else None
