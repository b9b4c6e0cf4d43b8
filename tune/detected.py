"""The language that each held-out document looks like from its beginning, which is all that a request shows."""

from __future__ import annotations

import logging
from collections.abc import Collection

from app.artifacts.layout import TOKENIZER
from app.artifacts.store import Store
from app.config.schema import Config
from app.core.errors import ConfigError
from app.corpora.identify import most_likely
from app.pipelines.score import validation_blocks
from app.tokens.tokenizer import load_tokenizer
from tune.kept import run_lineage

log = logging.getLogger(__name__)

BEGINNING = 32
"""Tokens; a short prompt."""


def detected_languages(config: Config, store: Store, names: Collection[str]) -> dict[str, str]:
    """Name of each of these documents of the run's held-out text -> its language by lingua, among the run's.

    Documents whose beginning has no letters of them are not in it; empty, and said so, where lingua is not installed.
    Raises MissingArtifact where the run is not evaluated.
    """
    lineage = run_lineage(config, store)
    tokenizer = load_tokenizer(str(lineage.tokenizer.finished().local(TOKENIZER)))
    corpus = lineage.token_corpus
    wanted, found = frozenset(names), dict[str, str]()
    try:
        for block, texts in validation_blocks(lineage.config, corpus, tokenizer):
            for name, ids in zip(block.doc_ids, texts, strict=True):
                if name in wanted and (
                    best := most_likely(tokenizer.decode(ids[:BEGINNING].tolist()), corpus.languages())
                ):
                    found[name] = best[0]
    except ConfigError as missing:
        log.warning("weights: the languages of documents are not detected: %s", missing)
    return found
