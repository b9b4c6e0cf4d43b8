from __future__ import annotations

import math

import pytest

from app.allocation.random_split import RandomAllocator
from app.core.errors import AllocationError
from app.core.records import DocumentBatch

BASE = RandomAllocator(("expert-00", "expert-01"), 0)
BATCH = DocumentBatch(("1", "2", "3", "4"), ("en", "az", "en", "he"), ("",) * 4)


def test_the_new_expert_owns_its_languages_and_nothing_else_moves() -> None:
    grown = BASE.with_expert("expert-02", ["az"], "expert-01")
    before = BASE.assign(BATCH).tolist()
    assert grown.assign(BATCH).tolist() == [before[0], 2, before[2], before[3]]
    assert grown.experts == ("expert-00", "expert-01", "expert-02")
    assert grown.unit == "document"


def test_the_new_expert_is_never_used_for_another_named_language_and_beside_its_parent_for_text_of_none() -> None:
    grown = BASE.with_expert("expert-02", ["az"], "expert-01")
    assert grown.context("az").distances().tolist() == [math.inf, math.inf, 0.0]
    assert grown.context("en").distances().tolist() == [1.0, 1.0, math.inf]
    assert grown.context(None).distances().tolist() == [1.0, 1.0, 1.0]


def test_rounds_can_follow_one_another() -> None:
    grown = BASE.with_expert("expert-02", ["az"], "expert-01").with_expert("expert-03", ["he"], "expert-02")
    assert grown.assign(BATCH).tolist()[1::2] == [2, 3]
    assert grown.context("az").distances().tolist() == [math.inf, math.inf, 0.0, math.inf]


def test_a_taken_name_is_refused() -> None:
    with pytest.raises(AllocationError, match="exists already"):
        BASE.with_expert("expert-00", ["az"], "expert-01")
    with pytest.raises(AllocationError, match="branches from 'expert-09'"):
        BASE.with_expert("expert-02", ["az"], "expert-09")
