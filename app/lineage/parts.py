"""Which text each expert holds, and its share of the mixture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from app.artifacts.counts import AllocationCounts
from app.artifacts.store import StageFolder
from app.config.schema import Config
from app.core.records import IntArray
from app.corpora.mixture import language_weights
from app.lineage.settings import language_quality
from app.tokens.dataset import TokenCorpus
from app.training.model_task import read_assignment


@dataclass(frozen=True)
class Part:
    """One expert's share of the corpus: for each language the rows it holds (None: all) and their tokens."""

    name: str
    rows: Mapping[str, IntArray | None]
    tokens: Mapping[str, int]


def mixture_weights(config: Config, corpus: TokenCorpus) -> dict[str, float]:
    """The distribution over languages that dense draws from, sums to 1."""
    return language_weights(
        config.corpus.mixture,
        whole_part("dense", corpus).tokens,
        config.corpus.mixture_temperature,
        config.corpus.mixture_max_epochs,
        config.training.budget_tokens,
        language_quality(config),
    )


def whole_part(name: str, corpus: TokenCorpus) -> Part:
    """The part that holds everything."""
    rows: dict[str, IntArray | None] = dict.fromkeys(corpus.languages())
    return Part(name, rows, {lang: _tokens(corpus, lang, None) for lang in rows})


def read_parts(allocation: StageFolder, corpus: TokenCorpus) -> list[Part]:
    """The parts of a finished allocation in expert order."""
    counts = allocation.counts(AllocationCounts)
    experts, clusters = counts.experts, counts.clusters
    if clusters is not None:
        return [
            Part(name, dict.fromkeys(cluster), {lang: _tokens(corpus, lang, None) for lang in cluster})
            for name, cluster in zip(experts, clusters, strict=True)
        ]
    held: list[dict[str, IntArray]] = [{} for _ in experts]
    for lang in corpus.languages():
        assignment = read_assignment(allocation, lang, corpus.documents(lang, "train").doc_ids)
        for number in range(len(experts)):
            rows = np.flatnonzero(assignment == number).astype(np.int64)
            if rows.size:
                held[number][lang] = rows
    return [
        Part(name, rows, {lang: _tokens(corpus, lang, chosen) for lang, chosen in rows.items()})
        for name, rows in zip(experts, held, strict=True)
    ]


def expert_weights(
    part: Part, mixture: Mapping[str, float], totals: Mapping[str, int], sequence_length: int
) -> dict[str, float]:
    """An expert's share of the mixture, by language: the language's weight times the part of its tokens held here.

    The values add up to the expert's share of the whole mixture, so that with ``budget_split: by_mixture`` every
    language is seen as often over all experts as by the dense model. A language with less than one row of text in
    the part gets no weight.
    """
    return {
        lang: mixture[lang] * tokens / totals[lang] for lang, tokens in part.tokens.items() if tokens >= sequence_length
    }


def _tokens(corpus: TokenCorpus, lang: str, rows: IntArray | None) -> int:
    lengths = corpus.documents(lang, "train").length
    return int(lengths.sum() if rows is None else lengths[rows].sum())
