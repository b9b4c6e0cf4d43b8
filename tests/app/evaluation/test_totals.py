from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest

from app.core.records import FloatArray, IntArray
from app.evaluation.scores import scored_documents
from app.evaluation.totals import LanguageTotals, Totals
from app.evaluation.win_rate import compare


def test_perplexity_weighs_tokens_and_bits_per_byte_weighs_bytes() -> None:
    figures = LanguageTotals(np.array([-4.0, -8.0]), np.array([2, 4]), np.array([6, 10]), 2)
    assert figures.perplexity == pytest.approx(math.exp(2))
    assert figures.bits_per_byte == pytest.approx(12 / math.log(2) / 16)


def grown(nats: FloatArray, tokens: IntArray, most: int, at_once: int) -> LanguageTotals:
    found = Totals(most)
    for start in range(0, len(nats), at_once):
        some = slice(start, start + at_once)
        langs = ["de"] * len(nats[some])
        found.add(langs, tokens[some], 3 * tokens[some], {"dense": nats[some], "seed": 2 * nats[some]})
    assert found.by_system()["seed"]["de"].log_prob.tolist() == (2 * found.by_system()["dense"]["de"].log_prob).tolist()
    return found.by_system()["dense"]["de"]


def of_units(most: int, tokens: IntArray, mine: FloatArray, dense: FloatArray) -> dict[str, float]:
    """The figures of ``ensemble`` against ``dense`` on German documents, from at most so many units."""
    found = Totals(most)
    found.add(["de"] * len(tokens), tokens, tokens, {"ensemble": mine, "dense": dense})
    cell = compare(found.by_system(), {}, 4_000, 0, ["dense"]).table["de"]["ensemble"]
    assert isinstance(cell, dict)
    return {name: float(value) for name, value in cell.items() if isinstance(value, int | float)}


def test_documents_are_summed_by_language() -> None:
    documents = scored_documents(["a", "b", "c"], ["sw", "de", "sw"], [2, 1, 3], [5, 6, 7])
    found = Totals()
    found.add_tokens(documents, {"dense": np.array([-1.0, -2, -3, -4, -5, -6])})
    by_language = found.by_system()["dense"]
    assert list(by_language) == ["de", "sw"]
    assert by_language["sw"].log_prob.tolist() == [-3, -15] and by_language["sw"].tokens.tolist() == [2, 3]
    assert by_language["de"].log_prob.tolist() == [-3] and by_language["de"].bytes.tolist() == [6]


@pytest.mark.parametrize("at_once", [1, 3, 7, 100])
@pytest.mark.parametrize("n", [7, 8, 9, 16, 17, 61])
def test_units_are_documents_that_follow_each_other_however_they_are_handed_over(n: int, at_once: int) -> None:
    nats, tokens = -np.arange(1.0, n + 1), np.arange(1, n + 1)
    size = next(2**power for power in range(10) if math.ceil(n / 2**power) <= 8)
    found = grown(nats, tokens, 8, at_once)
    expected = [sum(nats[start : start + size]) for start in range(0, n, size)]
    assert found.log_prob.tolist() == expected and found.documents == n
    assert found.tokens.tolist() == [-value for value in expected]
    assert found.bytes.tolist() == [-3 * value for value in expected]


def test_intervals_of_units_are_those_of_documents_and_the_figures_are_equal() -> None:
    rng = np.random.default_rng(3)
    tokens, hard = rng.integers(20, 200, size=20_000), rng.normal(3.0, 0.5, size=20_000)
    dense, mine = -hard * tokens, -(hard - 0.002 + rng.normal(0, 0.05, size=20_000)) * tokens
    apart, grouped = (of_units(most, tokens, mine, dense) for most in (20_000, 1_000))
    assert grouped["documents"] == apart["documents"] == 20_000
    assert grouped["perplexity"] == pytest.approx(apart["perplexity"], rel=1e-12)
    for low, high in (("low", "high"), ("low_from_dense", "high_from_dense")):
        width = apart[high] - apart[low]
        # 625 units: the standard error is known to 1 / sqrt(2 * 625) = 2.8 %; three times that
        assert grouped[high] - grouped[low] == pytest.approx(width, rel=0.09)
        assert grouped[low] == pytest.approx(apart[low], abs=0.09 * width)


def test_systems_are_the_same_in_every_run_of_documents() -> None:
    found, one = Totals(), np.ones(1, dtype=np.int64)
    found.add(["de"], one, one, {"dense": -np.ones(1)})
    with pytest.raises(AssertionError, match="seed after dense"):
        found.add(["de"], one, one, {"seed": -np.ones(1)})


def test_totals_that_were_given_out_do_not_change_with_what_is_added_later() -> None:
    found = Totals(2)
    found.add(["de"] * 3, np.array([1, 1, 1]), np.array([3, 3, 3]), {"dense": np.array([-1.0, -2.0, -3.0])})
    given = found.by_system()["dense"]["de"]
    before = given.log_prob.tolist()
    found.add(["de"], np.array([1]), np.array([3]), {"dense": np.array([-5.0])})  # fills the unit of the third
    assert given.log_prob.tolist() == before


def test_four_times_the_documents_take_no_more_memory() -> None:
    def peak(documents: int) -> int:
        found, some = Totals(512), np.full(1_000, 10)
        tracemalloc.start()
        for _ in range(documents // 1_000):
            found.add(["de"] * 1_000, some, some, {"dense": -some.astype(float), "seed": -some.astype(float)})
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(2_000)
    assert peak(80_000) <= peak(20_000) + 20_000
