from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from app.allocation.by_language import LanguageAllocator
from app.evaluation.scores import ScoredBlock, scored_documents
from app.pipelines import distances


def test_for_a_cut_of_languages_every_token_has_the_distances_of_its_documents_language() -> None:
    allocator = LanguageAllocator(("expert-00", "expert-01"), (("sw",), ("de",)))
    blocks = [
        ScoredBlock(scored_documents(["a", "b"], ["de", "sw"], [2, 1], [5, 6]), {}),
        ScoredBlock(scored_documents(["c"], ["sw"], [3], [7]), {}),
    ]
    nothing: Any = None  # neither text nor tokenizer is read
    found = list(distances.with_distances(nothing, allocator, iter(blocks)))
    assert [block for block, _ in found] == blocks
    de, sw = (allocator.context(lang).distances().tolist() for lang in ("de", "sw"))
    assert de != sw and [rows.tolist() for _, rows in found] == [[de, de, sw], [sw, sw, sw]]


class Counting:
    """Its distances say how many tokens the text has and what they add up to."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def extend(self, text: str, tokens: Any) -> None:
        assert len(tokens) == 1 and text == f"<{tokens[0]}>"
        self.seen += tokens

    def distances(self) -> np.ndarray:
        return np.array([len(self.seen), sum(self.seen)], dtype=np.float64)


def test_the_distances_of_a_token_are_those_of_the_text_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    allocator = SimpleNamespace(context=lambda _lang: Counting())
    tokenizer = SimpleNamespace(pieces=lambda ids: [f"<{token}>" for token in ids])
    monkeypatch.setattr(distances, "load_allocator", lambda _read: allocator)
    monkeypatch.setattr(distances, "load_tokenizer", lambda _place: tokenizer)
    stage: Any = SimpleNamespace(child=lambda _name: SimpleNamespace(read=None), local=lambda _name: "")
    rows = distances._context_distances(stage, stage, [np.array([7, 5, 9]), np.array([2, 4])])
    assert rows.tolist() == [[0, 0], [1, 7], [2, 12], [0, 0], [1, 2]]
