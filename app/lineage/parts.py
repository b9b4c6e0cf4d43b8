"""Which text each expert holds, and its share of the mixture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.artifacts.counts import AllocationCounts
from app.artifacts.store import StageFolder
from app.config.schema import Config
from app.core.errors import StaleArtifact
from app.corpora.mixture import language_weights
from app.lineage.settings import language_quality
from app.tokens.dataset import TokenCorpus

ALL = "all"
"""Stands for the digest of a language's documents where none are left out."""


@dataclass(frozen=True)
class Part:
    """One expert's share of the corpus: for each language which documents it holds, as a digest, and their tokens."""

    name: str
    documents: Mapping[str, str]
    tokens: Mapping[str, int]

    @property
    def is_whole(self) -> bool:
        """Whether it holds all documents of its languages."""
        return all(digest == ALL for digest in self.documents.values())


def mixture_weights(config: Config, corpus: TokenCorpus) -> dict[str, float]:
    """The distribution over languages that dense draws from, sums to 1."""
    return language_weights(
        config.corpus.mixture,
        corpus.counts.training_tokens(),
        config.corpus.mixture_temperature,
        config.corpus.mixture_max_epochs,
        config.training.budget_tokens,
        language_quality(config),
    )


def whole_part(name: str, corpus: TokenCorpus, languages: Sequence[str]) -> Part:
    """The part that holds everything in these languages."""
    # No digest is needed: which documents there are is said by the tokens, a parent of every model.
    return Part(name, dict.fromkeys(languages, ALL), {lang: corpus.counts.tokens(lang, "train") for lang in languages})


def read_parts(allocation: StageFolder, corpus: TokenCorpus) -> list[Part]:
    """The parts of a finished allocation in expert order, from its manifest: no assignment or token is read.

    Raises StaleArtifact for a document-level cut whose manifest does not say what each expert holds.
    """
    counts = allocation.counts(AllocationCounts)
    if counts.clusters is not None:
        return [
            whole_part(name, corpus, cluster) for name, cluster in zip(counts.experts, counts.clusters, strict=True)
        ]
    if not counts.digests:
        raise StaleArtifact(
            f"{allocation.uri} is of an earlier version and does not say what its experts hold; delete its folder and"
            f" run {allocation.made_by} again"
        )
    parts = []
    for number, name in enumerate(counts.experts):
        mine = [lang for lang, documents in counts.documents.items() if documents[number]]
        digests = {lang: counts.digests[lang][number] for lang in mine}
        parts.append(Part(name, digests, {lang: counts.tokens[lang][number] for lang in mine}))
    return parts


def expert_weights(
    part: Part, mixture: Mapping[str, float], totals: Mapping[str, int], sequence_length: int
) -> dict[str, float]:
    """An expert's share of the mixture, by language: the language's weight times the part of its tokens held here.

    The values add up to the expert's share of the whole mixture, so that with ``budget_split: by_mixture`` every
    language is seen as often over all experts as by the dense model. A language with less than one row of text in
    the part gets no weight.
    """
    # BlockDataset refuses a language of less than one row, and a model must not fail for a few stray documents.
    return {
        lang: mixture[lang] * tokens / totals[lang] for lang, tokens in part.tokens.items() if tokens >= sequence_length
    }
