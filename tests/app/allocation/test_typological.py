from __future__ import annotations

import pytest

from app.allocation.typological import cluster_languages
from app.allocation.uriel import read_typology
from app.core.errors import AllocationError

TYPOLOGY = read_typology(["en", "ja", "ko", "es", "hi"], 10, "error")


def test_needs_no_corpus_and_keeps_the_callers_order_within_a_pair() -> None:
    assert cluster_languages(TYPOLOGY, 3) == [["en", "es"], ["ja", "ko"], ["hi"]]


@pytest.mark.parametrize("k", [0, 6])
def test_k_outside_the_number_of_languages_is_refused(k: int) -> None:
    with pytest.raises(AllocationError, match=rf"allocation.k is {k} but there are 5 languages.*1 to 5"):
        cluster_languages(TYPOLOGY, k)


def test_an_unknown_linkage_names_the_nearest() -> None:
    with pytest.raises(AllocationError, match="did you mean 'average'"):
        cluster_languages(TYPOLOGY, 2, "averag")
