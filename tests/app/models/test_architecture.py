from __future__ import annotations

from dataclasses import replace

from app.models.architecture import special_ids
from tests.support.tiny_models import TINY


def test_one_token_starts_and_ends_a_text_and_another_pads() -> None:
    ids = special_ids(replace(TINY, start_id=2, pad_id=3))
    assert ids == {"bos_token_id": 2, "eos_token_id": 2, "pad_token_id": 3}
