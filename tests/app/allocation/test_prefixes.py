from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from app.allocation.by_language import LanguageAllocator
from app.allocation.prefixes import prefix_distances
from app.allocation.random_split import RandomAllocator
from app.allocation.tfidf import TfidfAllocator

PIECES = ["Der ", "Flu", "ss", "", " war kalt", " 河水", "", "री", "ver night"]
TOKENS = np.array([20, 3, 4, 7, 0, 10_000, 60, 61, 3])
"""Ids of the test vocabulary, of which some are no terms; unrelated to the pieces, which other analyzers read."""


def pieces_of(tokens: Sequence[int]) -> list[str]:
    assert list(tokens) == TOKENS.tolist()
    return PIECES


def no_pieces(tokens: Sequence[int]) -> list[str]:
    raise AssertionError(f"text of {len(tokens)} tokens is made though only the ids are read")


@pytest.mark.parametrize("kind", ["tokens", "char", "paper"])
def test_row_t_is_the_context_of_the_tokens_before_t(
    kind: str, token_allocator: TfidfAllocator, char_allocator: TfidfAllocator, paper_allocator: TfidfAllocator
) -> None:
    allocator = {"tokens": token_allocator, "char": char_allocator, "paper": paper_allocator}[kind]
    rows = prefix_distances(allocator, "de", TOKENS, no_pieces if kind == "tokens" else pieces_of)
    assert rows.shape == (len(PIECES) + 1, len(allocator.experts))
    for stop in range(len(PIECES) + 1):
        state = allocator.context("de")
        state.extend("".join(PIECES[:stop]), TOKENS[:stop].tolist())
        assert rows[stop] == pytest.approx(state.distances(), abs=1e-9)


def test_a_language_belongs_to_its_expert_at_every_token() -> None:
    allocator = LanguageAllocator(("a", "b"), (("en",), ("de",)))
    assert prefix_distances(allocator, "de", TOKENS, pieces_of).tolist() == [[math.inf, 0.0]] * (len(PIECES) + 1)


def test_a_random_allocation_is_indifferent_at_every_token() -> None:
    assert (prefix_distances(RandomAllocator(("a", "b"), 0), None, TOKENS, pieces_of) == 1.0).all()


def test_an_added_expert_is_as_near_as_its_parent_and_infinitely_far_where_another_language_is_told(
    char_allocator: TfidfAllocator,
) -> None:
    rows = prefix_distances(char_allocator.with_expert("new", ["az"], "expert-00"), "de", TOKENS, pieces_of)
    assert rows[:, :4] == pytest.approx(prefix_distances(char_allocator, "de", TOKENS, pieces_of), abs=1e-9)
    assert np.isinf(rows[:, 4]).all()
    untold = prefix_distances(char_allocator.with_expert("new", ["az"], "expert-02"), None, TOKENS, pieces_of)
    assert (untold[:, 4] == untold[:, 2]).all()
