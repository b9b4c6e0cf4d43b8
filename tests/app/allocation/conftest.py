from __future__ import annotations

import numpy as np
import pytest

from app.allocation.base import AllocationSettings, DocumentSample, Evidence
from app.allocation.strategies import fit_allocation
from app.allocation.tfidf import TfidfAllocator

WORDS = {
    "en": "the river was cold and wide but they crossed it before night 1984",
    "de": "der Fluss war kalt und breit aber sie überquerten ihn vor der Nacht",
    "ru": "река была холодной и широкой но они перешли её до наступления ночи",
    "hi": "नदी ठंडी और चौड़ी थी लेकिन उन्होंने रात से पहले उसे पार कर लिया",
    "zh": "河 水 冰冷 宽阔 但 他们 在 夜晚 之前 渡过 了 它",
    "ar": "كان النهر باردا وواسعا لكنهم عبروه قبل حلول الليل",
}


def make_sample(documents_per_language: int, seed: int) -> DocumentSample:
    """Shuffled words of six languages in five scripts; Chinese without spaces."""
    rng = np.random.default_rng(seed)
    rows = []
    for lang, words in WORDS.items():
        for number in range(documents_per_language):
            drawn = rng.choice(words.split(), size=int(rng.integers(20, 60)))
            rows.append((f"{lang}{seed}-{number}", lang, ("" if lang == "zh" else " ").join(drawn)))
    ids, langs, texts = zip(*rows, strict=True)
    return DocumentSample(ids, langs, texts)


@pytest.fixture(scope="session")
def sample() -> DocumentSample:
    return make_sample(40, seed=0)


@pytest.fixture(scope="session")
def unseen() -> DocumentSample:
    return make_sample(40, seed=1)


def _fit(sample: DocumentSample, settings: AllocationSettings, k: int) -> TfidfAllocator:
    fitted = fit_allocation(settings, Evidence(sample, None, {}), k, 7, tuple(WORDS))
    assert isinstance(fitted, TfidfAllocator)
    return fitted


@pytest.fixture(scope="session")
def char_allocator(sample: DocumentSample) -> TfidfAllocator:
    return _fit(sample, AllocationSettings("tfidf", max_features=4096, components=20), 4)


@pytest.fixture(scope="session")
def paper_allocator(sample: DocumentSample) -> TfidfAllocator:
    return _fit(sample, AllocationSettings("tfidf", analyzer="paper", components=20), 3)
