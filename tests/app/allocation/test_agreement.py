from __future__ import annotations

import logging

import pytest

from app.allocation.agreement import owner_agreement, warn_of_low_agreement

HELD = {"de": [10, 90], "en": [50, 50], "sw": [4, 0]}


def test_agreement_is_the_share_of_held_out_documents_nearest_to_the_expert_that_holds_most() -> None:
    nearest = {"de": [1, 3], "en": [1, 1], "sw": [0, 0]}
    assert owner_agreement(HELD, nearest) == {"de": 0.75, "en": 0.5}


def test_languages_below_nine_tenths_are_named(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        warn_of_low_agreement({"de": 0.9, "sw": 1.0}, HELD)
        assert not caplog.messages
        warn_of_low_agreement({"de": 0.89, "en": 0.5, "sw": 1.0}, HELD)
    assert "de 0.89 (its owner holds 0.90), en 0.50 (its owner holds 0.50)" in caplog.messages[0]
    assert "sw" not in caplog.messages[0]
