from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from app.allocation.base import AllocationSettings, Evidence
from app.allocation.strategies import fit_allocation
from app.allocation.tfidf import TfidfAllocator
from app.core.records import DocumentBatch

WORDS = {
    "en": "the river was cold and wide but they crossed it before night 1984",
    "de": "der Fluss war kalt und breit aber sie überquerten ihn vor der Nacht",
    "ru": "река была холодной и широкой но они перешли её до наступления ночи",
    "hi": "नदी ठंडी और चौड़ी थी लेकिन उन्होंने रात से पहले उसे पार कर लिया",
    "zh": "河 水 冰冷 宽阔 但 他们 在 夜晚 之前 渡过 了 它",
    "ar": "كان النهر باردا وواسعا لكنهم عبروه قبل حلول الليل",
}


VOCABULARY = [word for words in WORDS.values() for word in words.split()]
FIRST_ID = 3
"""Ids below stand for start, end and padding."""


def spell(ids: Sequence[int]) -> str:
    """Text of token ids: a token is a word and the space after it."""
    return "".join(f"{VOCABULARY[token - FIRST_ID]} " for token in ids)


def make_sample(documents_per_language: int, seed: int) -> DocumentBatch:
    """Shuffled words of six languages in five scripts, as text (Chinese without spaces) and as ids of whole words."""
    rng = np.random.default_rng(seed)
    ids, langs, texts, tokens = [], [], [], []
    for lang, words in WORDS.items():
        for number in range(documents_per_language):
            drawn = rng.choice(words.split(), size=int(rng.integers(50, 150))).tolist()
            ids.append(f"{lang}{seed}-{number}")
            langs.append(lang)
            texts.append(("" if lang == "zh" else " ").join(drawn))
            tokens.append(np.array([FIRST_ID + VOCABULARY.index(word) for word in drawn]))
    return DocumentBatch(tuple(ids), tuple(langs), tuple(texts), tuple(tokens))


@pytest.fixture(scope="session")
def sample() -> DocumentBatch:
    return make_sample(40, seed=0)


@pytest.fixture(scope="session")
def unseen() -> DocumentBatch:
    return make_sample(40, seed=1)


def _fit(sample: DocumentBatch, settings: AllocationSettings, k: int) -> TfidfAllocator:
    fitted = fit_allocation(settings, Evidence(sample, None, {}), k, 7, tuple(WORDS))
    assert isinstance(fitted, TfidfAllocator)
    return fitted


@pytest.fixture(scope="session")
def char_allocator(sample: DocumentBatch) -> TfidfAllocator:
    return _fit(sample, AllocationSettings("tfidf", analyzer="char", max_features=4096, components=20), 4)


@pytest.fixture(scope="session")
def token_allocator(sample: DocumentBatch) -> TfidfAllocator:
    return _fit(sample, AllocationSettings("tfidf", components=20), 4)


@pytest.fixture(scope="session")
def paper_allocator(sample: DocumentBatch) -> TfidfAllocator:
    return _fit(sample, AllocationSettings("tfidf", analyzer="paper", components=20), 3)
