from __future__ import annotations

import json

import pytest

from app.core.errors import CorruptArtifact
from app.tokens.counts import PartCount, counts_from_json, counts_to_json

FIRST, SECOND, HELD_OUT = PartCount("a", 2, 30, 100), PartCount("b", 1, 7, 20), PartCount("a", 1, 5, 9)


def test_counts_survive_the_manifest_and_are_added_up() -> None:
    made = [("de", "train", SECOND), ("de", "validation", HELD_OUT), ("de", "train", FIRST)]
    counts = counts_from_json(json.loads(json.dumps(counts_to_json(["de", "sw"], made))), "here")
    assert counts.parts("de", "train") == (FIRST, SECOND) and counts.parts("sw", "train") == ()
    assert (counts.documents("de", "train"), counts.tokens("de", "train"), counts.bytes("de", "train")) == (3, 37, 120)
    assert counts.languages() == ("de",) and counts.languages("validation") == ("de",)
    assert counts.training_tokens() == {"de": 37}


def test_the_manifest_holds_totals_beside_the_parts() -> None:
    entry = counts_to_json(["de"], [("de", "train", FIRST), ("de", "train", SECOND)])["de/train"]
    assert entry == {"documents": 3, "tokens": 37, "bytes": 120, "parts": [["a", 2, 30, 100], ["b", 1, 7, 20]]}


@pytest.mark.parametrize("entry", [{"documents": 1}, 5, {"parts": [["a", "x", 1, 1]]}, {"parts": [["a", 1]]}])
def test_counts_of_another_kind_are_refused_with_the_cure(entry: object) -> None:
    with pytest.raises(CorruptArtifact, match=r"here: 'de/train' does not count .*jobs\.tokenize again"):
        counts_from_json({"de/train": entry}, "here")  # type: ignore[dict-item]
