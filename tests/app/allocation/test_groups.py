from __future__ import annotations

import numpy as np
import pytest

from app.allocation.groups import AGREEMENT, grouped_centres, nearest, require_different, told_apart
from app.core.errors import AllocationError
from app.core.records import FloatArray, IntArray


def unit(rows: FloatArray) -> FloatArray:
    lengths: FloatArray = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / lengths


def languages(sizes: list[int], seed: int, noise: float = 0.25) -> tuple[FloatArray, FloatArray, IntArray]:
    """Documents of well separated languages, their beginnings (three times the noise), and the languages."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    centres = np.eye(12)[: len(sizes)]
    rows, begun = (centres[labels] + scale * rng.normal(size=(len(labels), 12)) for scale in (noise, 2 * noise))
    return unit(rows), unit(begun), labels


@pytest.mark.parametrize("k", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(3))
def test_each_language_is_owned_by_one_expert(k: int, seed: int) -> None:
    rows, begun, lang = languages([300, 200, 200, 100], seed, noise=0.12)
    found = grouped_centres(rows, begun, k, seed)
    owner = found.owners[nearest(rows, found.centres)]
    for number in range(4):
        assert np.mean(owner[lang == number] == np.bincount(owner[lang == number]).argmax()) >= AGREEMENT
    assert sorted(set(found.owners.tolist())) == list(range(k))


def test_whole_languages_fill_the_parts_as_evenly_as_they_can() -> None:
    rows, begun, _ = languages([300, 200, 200, 100], 5, noise=0.12)
    found = grouped_centres(rows, begun, 2, 0)
    sizes = np.bincount(found.owners[nearest(rows, found.centres)])
    assert sizes.max() / sizes.mean() < 1.02


def test_one_language_is_divided_among_all_experts() -> None:
    rows, begun, _ = languages([400], 2)
    found = grouped_centres(rows, begun, 3, 0)
    sizes = np.bincount(found.owners[nearest(rows, found.centres)], minlength=3)
    assert sizes.min() > 0 and sizes.max() / sizes.mean() < 1.2


def test_a_few_odd_documents_are_no_group_of_their_own() -> None:
    rows, begun, lang = languages([200, 200, 3], 3, noise=0.12)
    found = grouped_centres(rows, begun, 2, 0)
    assert np.bincount(found.owners[nearest(rows, found.centres)][lang < 2]).tolist() == [200, 200]
    assert len(found.centres) == 2


def test_groups_are_merged_until_each_finds_itself_again() -> None:
    confused = np.array([[60, 40, 0], [30, 70, 0], [0, 4, 96]], dtype=float)
    assert told_apart(confused, 0.9).tolist() == [0, 0, 1]
    assert told_apart(confused, 0.55).tolist() == [0, 1, 2]
    assert told_apart(confused, 0.99).tolist() == [0, 0, 0]


def test_of_two_candidates_those_are_merged_of_which_the_smaller_is_mistaken_more() -> None:
    """10 of 100 of the large one look like the second, 8 of 20 of the third do."""
    confused = np.array([[90, 10, 0], [0, 100, 0], [0, 8, 12]], dtype=float)
    assert told_apart(confused, 0.9).tolist() == [0, 1, 1]


def test_clusters_without_known_beginnings_stay_alone() -> None:
    assert told_apart(np.diag([5.0, 0.0, 5.0]), 0.9).tolist() == [0, 1, 2]


def test_nearest_is_the_centre_of_least_distance() -> None:
    rng = np.random.default_rng(0)
    rows, centres = rng.normal(size=(50, 4)), 3 * rng.normal(size=(7, 4))
    expected = np.linalg.norm(rows[:, None] - centres, axis=2).argmin(axis=1)
    assert nearest(rows, centres).tolist() == expected.tolist()


def test_fewer_different_documents_than_experts_are_refused() -> None:
    rows = np.repeat(np.eye(3), 20, axis=0)
    assert len(require_different(rows + 1e-13, 3)) == 3
    with pytest.raises(AllocationError, match=r"allocation\.k is 4.*60 sampled documents.*only 3 are different"):
        require_different(rows, 4)


def test_as_many_different_documents_as_experts_give_one_to_each() -> None:
    rows = np.repeat(np.eye(3), 20, axis=0)
    found = grouped_centres(rows, rows, 3, 0)
    assert sorted(np.bincount(found.owners[nearest(rows, found.centres)]).tolist()) == [20, 20, 20]


def test_equal_arguments_give_equal_centres() -> None:
    rows, begun, _ = languages([100, 100, 50], 1)
    one, other = grouped_centres(rows, begun, 2, 4), grouped_centres(rows, begun, 2, 4)
    assert np.array_equal(one.centres, other.centres) and np.array_equal(one.owners, other.owners)
