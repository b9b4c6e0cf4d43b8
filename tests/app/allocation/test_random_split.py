from __future__ import annotations

import numpy as np
import pytest

from app.allocation.base import AllocationSettings, Evidence
from app.allocation.random_split import RandomAllocator, RandomStrategy
from app.core.errors import AllocationError
from app.core.records import DocumentBatch


def batch_of(ids: list[str]) -> DocumentBatch:
    return DocumentBatch(tuple(ids), ("en",) * len(ids), ("",) * len(ids))


def fit(k: int, seed: int) -> RandomAllocator:
    return RandomStrategy(AllocationSettings(strategy="random")).fit(Evidence(None, None, {}), k, seed)


IDS = [f"{number:016x}" for number in range(16_000)]


def test_parts_are_balanced() -> None:
    sizes = np.bincount(fit(8, 0).assign(batch_of(IDS)), minlength=8)
    assert sizes.max() / sizes.mean() < 1.1


def test_a_document_goes_to_the_same_expert_in_any_batch_and_elsewhere_with_another_seed() -> None:
    whole = fit(8, 0).assign(batch_of(IDS))
    assert fit(8, 0).assign(batch_of(IDS[::-1])).tolist() == whole.tolist()[::-1]
    assert np.mean(fit(8, 1).assign(batch_of(IDS)) == whole) == pytest.approx(1 / 8, abs=0.02)


def test_a_context_has_no_preference() -> None:
    state = fit(3, 0).context(None)
    state.extend("text", [1])
    assert state.distances().tolist() == [1.0, 1.0, 1.0]


def test_no_expert_at_all_is_refused() -> None:
    with pytest.raises(AllocationError, match=r"allocation\.k is 0"):
        fit(0, 0)
