from __future__ import annotations

import numpy as np
import pytest

from app.allocation.anti_typological import AntiTypologicalStrategy
from app.allocation.base import AllocationSettings, Evidence, Typology
from app.core.errors import AllocationError

# a and b are alike, and so are c and d; a-c, a-d, b-c, b-d are at distance 1
TYPOLOGY = Typology(
    ("aa", "bb", "cc", "dd"), np.array([[1.0, 1.0, 0, 0], [1.0, 0.9, 0, 0], [0, 0, 1.0, 1.0], [0, 0, 0.9, 1.0]])
)
STRATEGY = AntiTypologicalStrategy(AllocationSettings(strategy="anti_typological"))


def test_languages_that_are_alike_are_parted() -> None:
    found = STRATEGY.fit(Evidence(None, TYPOLOGY, {}), 2, 0).languages_by_expert()
    assert [sorted(group) for group in found] == [["aa", "cc"], ["bb", "dd"]]


def test_too_many_experts_are_refused() -> None:
    with pytest.raises(AllocationError, match="from 1 to 4"):
        STRATEGY.fit(Evidence(None, TYPOLOGY, {}), 5, 0)
