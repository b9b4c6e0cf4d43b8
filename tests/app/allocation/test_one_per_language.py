from __future__ import annotations

import pytest

from app.allocation.base import AllocationSettings, Evidence
from app.allocation.one_per_language import OnePerLanguageStrategy
from app.core.errors import AllocationError

EVIDENCE = Evidence(None, None, {}, ("sk", "en", "zh"))
STRATEGY = OnePerLanguageStrategy(AllocationSettings(strategy="one_per_language"))


def test_every_language_has_its_own_expert_even_one_without_typology() -> None:
    assert STRATEGY.fit(EVIDENCE, 3, 0).languages_by_expert() == [["sk"], ["en"], ["zh"]]


def test_another_k_is_refused_with_the_right_one() -> None:
    with pytest.raises(AllocationError, match=r"set allocation\.k=3"):
        STRATEGY.fit(EVIDENCE, 4, 0)
