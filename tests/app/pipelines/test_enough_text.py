from __future__ import annotations

import pytest

from app.core.errors import CorpusError
from app.pipelines.enough_text import require_enough_text

COUNTS = {"de/train": 129, "de/validation": 1, "sw/train": 128, "sw/validation": 5, "yo/train": 900}


def test_every_language_with_too_little_is_named_with_its_count_and_a_cure_that_works() -> None:
    with pytest.raises(CorpusError) as caught:
        require_enough_text(
            ("de", "ga", "sw", "yo"), COUNTS, "tokens", {"train": 129, "validation": 1}, 0.05, "lower that"
        )
    text = str(caught.value)
    assert "too little training text in ga (0 tokens of 129), sw (128 tokens of 129);" in text
    assert "too little held-out text in ga (0 tokens of 1), yo (0 tokens of 1)." in text
    assert text.endswith(
        "To go on, set corpus.languages to de, give these languages more text, lower that or raise"
        " corpus.validation_fraction (0.05) or bring files named validation"
    )
    require_enough_text(("de",), COUNTS, "tokens", {"train": 129, "validation": 1}, 0.05)


def test_held_out_text_is_no_cure_where_training_text_is_missing() -> None:
    with pytest.raises(CorpusError) as caught:
        require_enough_text(("sw",), COUNTS, "tokens", {"train": 129, "validation": 1}, 0.05)
    assert "corpus.languages" not in str(caught.value) and "validation" not in str(caught.value)
