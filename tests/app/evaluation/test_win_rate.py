from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from app.core.records import FloatArray
from app.evaluation import win_rate
from app.evaluation.scores import ScoredDocuments, scored_documents
from app.evaluation.win_rate import (
    LanguageTotals,
    compare,
    headline,
    language_totals,
    resampled_log_perplexities,
    summarise,
)


def totals(log_prob: list[float], tokens: list[int], sizes: list[int]) -> LanguageTotals:
    return LanguageTotals(np.array(log_prob), np.array(tokens), np.array(sizes))


def test_perplexity_weighs_tokens_and_bits_per_byte_weighs_bytes() -> None:
    figures = totals([-4.0, -8.0], [2, 4], [6, 10])
    assert figures.perplexity == pytest.approx(math.exp(2))
    assert figures.bits_per_byte == pytest.approx(12 / math.log(2) / 16)


def test_documents_are_summed_by_language() -> None:
    documents = scored_documents(["a", "b", "c"], ["sw", "de", "sw"], [2, 1, 3], [5, 6, 7])
    found = language_totals(documents, np.array([-1.0, -2, -3, -4, -5, -6]))
    assert list(found) == ["de", "sw"]
    assert found["sw"].log_prob.tolist() == [-3, -15] and found["sw"].tokens.tolist() == [2, 3]
    assert found["de"].log_prob.tolist() == [-3] and found["de"].bytes.tolist() == [6]


def drawn(seed: int, n: int = 40, gap: float = 0.0) -> tuple[FloatArray, FloatArray, np.ndarray]:
    rng = np.random.default_rng(seed)
    tokens = rng.integers(20, 200, size=n)
    hard = rng.normal(3.0, 0.5, size=n)
    return -(hard - gap + rng.normal(0, 0.05, size=n)) * tokens, -hard * tokens, tokens


def test_intervals_agree_with_scipys_paired_bootstrap() -> None:
    mine, dense, tokens = drawn(0)
    documents = {"ensemble": totals(mine.tolist(), tokens.tolist(), [1] * 40)}
    documents |= {"dense": totals(dense.tolist(), tokens.tolist(), [1] * 40)}
    table = compare({name: {"de": value} for name, value in documents.items()}, {}, 20_000, 0)["de"]
    cell = table["ensemble"]
    assert isinstance(cell, dict)

    def change(a: FloatArray, b: FloatArray, n: FloatArray, axis: int) -> FloatArray:
        return np.asarray(np.expm1((b.sum(axis) - a.sum(axis)) / n.sum(axis)))

    def perplexity(a: FloatArray, n: FloatArray, axis: int) -> FloatArray:
        return np.asarray(np.exp(-a.sum(axis) / n.sum(axis)))

    options = {"paired": True, "vectorized": True, "n_resamples": 20_000, "method": "percentile"}
    expected = stats.bootstrap((mine, dense, tokens), change, rng=np.random.default_rng(1), **options)
    interval = expected.confidence_interval
    width = interval.high - interval.low
    assert cell["low_from_dense"] == pytest.approx(interval.low, abs=0.03 * width)
    assert cell["high_from_dense"] == pytest.approx(interval.high, abs=0.03 * width)
    expected = stats.bootstrap((mine, tokens), perplexity, rng=np.random.default_rng(2), **options)
    interval = expected.confidence_interval
    width = interval.high - interval.low
    assert cell["low"] == pytest.approx(interval.low, abs=0.03 * width)
    assert cell["high"] == pytest.approx(interval.high, abs=0.03 * width)
    assert width > 3 * (float(str(cell["high_from_dense"])) - float(str(cell["low_from_dense"])))  # pairing pays


def test_resampling_in_parts_changes_nothing_but_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    mine, dense, tokens = drawn(1)
    log_probs = np.stack([mine, dense], axis=1)
    whole = resampled_log_perplexities(log_probs, tokens, 50, np.random.default_rng(0))
    monkeypatch.setattr(win_rate, "_DRAWN_AT_ONCE", 7 * 40)
    parts = resampled_log_perplexities(log_probs, tokens, 50, np.random.default_rng(0))
    assert whole.shape == (50, 2)
    np.testing.assert_allclose(parts, whole)


def corpus(n: int) -> tuple[ScoredDocuments, dict[str, FloatArray]]:
    """Per document of 10 tokens: `de` 10 % better than dense, `hi` 10 % worse, `sw` now better now worse."""
    langs = ["de"] * n + ["hi"] * n + ["sw"] * n
    documents = scored_documents([f"d{i}" for i in range(3 * n)], langs, [10] * (3 * n), [30] * (3 * n))
    ratio = {"de": [0.9] * n, "hi": [1.1] * n, "sw": [0.6, 1.5] * (n // 2)}
    per_document = np.concatenate([np.log(ratio[lang]) for lang in ("de", "hi", "sw")])
    dense = np.full(30 * n, -3.0)
    return documents, {"seed": dense - 0.5, "dense": dense, "ensemble": dense - np.repeat(per_document, 10)}


def test_wins_clear_wins_and_the_mean_change() -> None:
    documents, systems = corpus(8)
    exposure = {"dense": {"de": 100, "hi": 100, "sw": 90}, "ensemble": {"de": 110}}
    summary = summarise(documents, systems, exposure, 500, 0)
    assert summary["languages_compared"] == 3
    assert summary["wins_over_dense"] == 2  # sw: sqrt(0.6 * 1.5) < 1, but its interval holds 0
    assert summary["clear_wins_over_dense"] == 1 and summary["clear_losses_to_dense"] == 1
    assert summary["wins_over_seed"] == summary["clear_wins_over_seed"] == 3
    mean = (0.9 + 1.1 + math.sqrt(0.9)) / 3 - 1
    assert summary["mean_relative_perplexity_change"] == pytest.approx(mean)
    assert summary["mean_log_perplexity_ratio"] == pytest.approx(math.log(0.9 * 1.1 * math.sqrt(0.9)) / 3)
    table = summary["per_language"]
    assert isinstance(table, dict)
    cell = table["de"]["ensemble"]
    assert cell["perplexity"] == pytest.approx(0.9 * math.exp(3)) and cell["exposure_tokens"] == 110
    assert cell["bits_per_byte"] == pytest.approx((3 + math.log(0.9)) * 10 / math.log(2) / 30)
    for name in ("change_from_dense", "low_from_dense", "high_from_dense"):
        assert cell[name] == pytest.approx(-0.1)
    assert cell["documents"] == 8 and cell["clear_from_dense"] is True
    assert "change_from_dense" not in table["de"]["dense"] and table["sw"]["ensemble"]["exposure_tokens"] == 0
    assert list(summary["systems"]) == ["ensemble"]  # type: ignore[arg-type]  # JSON


def test_a_few_documents_make_no_clear_win() -> None:
    documents, systems = corpus(4)
    summary = summarise(documents, systems, {}, 200, 0)
    assert summary["wins_over_dense"] == 2 and summary["clear_wins_over_dense"] == 0


def test_a_system_is_compared_on_the_same_draws_whatever_else_is_compared() -> None:
    documents, systems = corpus(8)
    alone = summarise(documents, systems, {}, 200, 0)
    more = summarise(documents, {**systems, "expert-0": systems["dense"] - 1}, {}, 200, 0)
    assert alone["per_language"]["sw"]["ensemble"] == more["per_language"]["sw"]["ensemble"]  # type: ignore[call-overload, index]  # JSON
    by_name = {name: language_totals(documents, values) for name, values in systems.items()}
    assert headline(compare(by_name, {}, 200, 0), "ensemble").items() <= alone.items()
