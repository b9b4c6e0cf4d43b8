from __future__ import annotations

import numpy as np
import pytest

from app.allocation.holdings import Holdings, part_holdings, summed_holdings
from app.core.records import IntArray

OWNERS = np.array([0, 2, 2, 0, 2, 2, 0, 2, 2])
LENGTHS = np.array([5, 1, 2, 7, 3, 4, 6, 8, 9])


def by_parts(owner: IntArray, experts: int = 3) -> Holdings:
    """Of the documents above in a part of five and one of four."""
    cuts = (("part-0", slice(0, 5)), ("part-1", slice(5, 9)))
    return summed_holdings([(name, part_holdings(owner[of], LENGTHS[of], experts)) for name, of in cuts], experts)


def test_documents_and_tokens_are_those_of_counting_each_document() -> None:
    found = by_parts(OWNERS)
    assert found.documents.tolist() == [3, 0, 6]
    assert found.tokens.tolist() == [5 + 7 + 6, 0, 1 + 2 + 3 + 4 + 8 + 9]
    assert len(set(found.digests)) == 3


def test_the_digest_says_which_documents_and_not_whose_they_are() -> None:
    before, after = by_parts(OWNERS), by_parts(np.where(OWNERS == 0, 1, 0), experts=2)
    assert after.digests == (before.digests[2], before.digests[0])


@pytest.mark.parametrize("moved", range(9))
def test_another_document_is_another_digest(moved: int) -> None:
    other = OWNERS.copy()
    other[moved] = 1
    assert by_parts(other).digests[OWNERS[moved]] != by_parts(OWNERS).digests[OWNERS[moved]]


def test_the_same_places_of_another_part_are_another_digest() -> None:
    held = part_holdings(np.array([0, 0, 1]), np.array([1, 1, 1]), 2)
    assert summed_holdings([("part-0", held)], 2).digests[0] != summed_holdings([("part-1", held)], 2).digests[0]
