"""TF-IDF allocation on a real multilingual corpus in mC4's layout, named by ``XELM_CORPUS``."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from app.allocation.base import AllocationSettings, Evidence
from app.allocation.strategies import fit_allocation
from app.allocation.tfidf import TfidfAllocator
from app.core.records import DocumentBatch

LANGUAGES = ["ar", "bg", "de", "el", "en", "es", "fr", "hi", "ja", "ko", "ru", "sw", "tr", "ur", "vi", "zh"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("XELM_CORPUS" not in os.environ, reason="XELM_CORPUS names no folder of real text"),
]


def texts_of(lang: str, split: str) -> Iterator[str]:
    for file in sorted(Path(os.environ["XELM_CORPUS"]).glob(f"c4-{lang}{split}.tfrecord-*.json.gz")):
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            yield from (json.loads(line)["text"] for line in lines)


def read_sample(split: str, documents_per_language: int) -> DocumentBatch:
    rows = [(lang, text) for lang in LANGUAGES for text in islice(texts_of(lang, split), documents_per_language)]
    return DocumentBatch(tuple(map(str, range(len(rows)))), *zip(*rows, strict=True))


def test_no_unseen_document_of_any_script_is_without_terms_and_languages_are_whole() -> None:
    sample, unseen = read_sample("", 200), read_sample("-validation", 60)
    fitted = fit_allocation(AllocationSettings("tfidf", analyzer="char"), Evidence(sample, None, {}), 8, 0, LANGUAGES)
    assert isinstance(fitted, TfidfAllocator)
    assert np.abs(fitted.analyzer.counts(unseen) @ fitted.projection).sum(axis=1).min() > 0
    labels = fitted.assign(unseen)
    sizes = np.bincount(labels, minlength=8)
    assert sizes.max() / sizes.mean() <= 1.3
    for lang in LANGUAGES:
        assert np.bincount(labels[np.array(unseen.langs) == lang]).max() >= 0.9 * 60
