from __future__ import annotations

from app.allocation.base import expert_names


def test_experts_are_named_by_two_digits_in_order() -> None:
    assert expert_names(2) == ("expert-00", "expert-01")
    assert expert_names(101)[-1] == "expert-100"
