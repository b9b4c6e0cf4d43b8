from __future__ import annotations

import math

import numpy as np
import pytest

from app.allocation.by_language import LanguageAllocator
from app.allocation.prefixes import prefix_distances
from app.allocation.random_split import RandomAllocator
from app.allocation.tfidf import TfidfAllocator

PIECES = ["Der ", "Flu", "ss", "", " war kalt", " 河水", "", "री", "ver night"]


@pytest.mark.parametrize("kind", ["char", "paper"])
def test_row_t_is_the_context_of_the_pieces_before_t(
    kind: str, char_allocator: TfidfAllocator, paper_allocator: TfidfAllocator
) -> None:
    allocator = char_allocator if kind == "char" else paper_allocator
    rows = prefix_distances(allocator, "de", PIECES)
    assert rows.shape == (len(PIECES) + 1, len(allocator.experts))
    for stop in range(len(PIECES) + 1):
        state = allocator.context("de")
        state.extend("".join(PIECES[:stop]))
        assert rows[stop] == pytest.approx(state.distances(), abs=1e-9)


def test_a_language_belongs_to_its_expert_at_every_token() -> None:
    allocator = LanguageAllocator(("a", "b"), (("en",), ("de",)))
    assert prefix_distances(allocator, "de", PIECES).tolist() == [[math.inf, 0.0]] * (len(PIECES) + 1)


def test_a_random_allocation_is_indifferent_at_every_token() -> None:
    assert (prefix_distances(RandomAllocator(("a", "b"), 0), None, PIECES) == 1.0).all()


def test_an_added_expert_is_infinitely_far_from_other_text(char_allocator: TfidfAllocator) -> None:
    rows = prefix_distances(char_allocator.with_expert("new", ["az"]), "de", PIECES)
    assert rows[:, :4] == pytest.approx(prefix_distances(char_allocator, "de", PIECES), abs=1e-9)
    assert np.isinf(rows[:, 4]).all()
