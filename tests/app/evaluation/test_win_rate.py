from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from app.core.records import FloatArray
from app.evaluation import win_rate
from app.evaluation.totals import LanguageTotals, Totals
from app.evaluation.win_rate import compare, headline, resampled_log_perplexities, summarise


def totals(log_prob: list[float], tokens: list[int], sizes: list[int]) -> LanguageTotals:
    return LanguageTotals(np.array(log_prob), np.array(tokens), np.array(sizes), len(tokens))


def drawn(seed: int, n: int = 40, gap: float = 0.0) -> tuple[FloatArray, FloatArray, np.ndarray]:
    rng = np.random.default_rng(seed)
    tokens = rng.integers(20, 200, size=n)
    hard = rng.normal(3.0, 0.5, size=n)
    return -(hard - gap + rng.normal(0, 0.05, size=n)) * tokens, -hard * tokens, tokens


def test_intervals_agree_with_scipys_paired_bootstrap() -> None:
    mine, dense, tokens = drawn(0)
    documents = {"ensemble": totals(mine.tolist(), tokens.tolist(), [1] * 40)}
    documents |= {"dense": totals(dense.tolist(), tokens.tolist(), [1] * 40)}
    table = compare({name: {"de": value} for name, value in documents.items()}, {}, 20_000, 0).table["de"]
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


def by_system(langs: list[str], systems: dict[str, FloatArray]) -> dict[str, dict[str, LanguageTotals]]:
    """Documents of 10 tokens and 30 bytes. systems: name -> (documents,) nats."""
    found = Totals()
    found.add(langs, np.full(len(langs), 10), np.full(len(langs), 30), systems)
    return found.by_system()


def corpus(n: int) -> tuple[list[str], dict[str, FloatArray]]:
    """Documents of 10 tokens: `de` 10 % better than dense, `hi` 10 % worse, `sw` now better now worse."""
    langs = ["de"] * n + ["hi"] * n + ["sw"] * n
    ratio = {"de": [0.9] * n, "hi": [1.1] * n, "sw": [0.6, 1.5] * (n // 2)}
    per_document = np.concatenate([np.log(ratio[lang]) for lang in ("de", "hi", "sw")])
    dense = np.full(3 * n, -30.0)
    return langs, {"seed": dense - 5, "dense": dense, "ensemble": dense - 10 * per_document}


def test_wins_clear_wins_and_the_mean_change() -> None:
    langs, systems = corpus(20)
    exposure = {"dense": {"de": 100, "hi": 100, "sw": 90}, "ensemble": {"de": 110}}
    summary = summarise(by_system(langs, systems), exposure, 500, 0)
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
    assert cell["documents"] == 20 and cell["clear_from_dense"] is True
    assert "change_from_dense" not in table["de"]["dense"] and table["sw"]["ensemble"]["exposure_tokens"] == 0
    assert list(summary["systems"]) == ["ensemble"]  # type: ignore[arg-type]  # JSON


def test_a_few_documents_make_no_clear_win() -> None:
    langs, systems = corpus(18)
    summary = summarise(by_system(langs, systems), {}, 200, 0)
    assert summary["wins_over_dense"] == 2 and summary["clear_wins_over_dense"] == 0
    assert summary["languages_with_enough_documents"] == summary["expected_false_clear"] == 0
    langs, systems = corpus(20)
    summary = summarise(by_system(langs, systems), {}, 200, 0)
    assert summary["languages_with_enough_documents"] == 3
    assert summary["expected_false_clear"] == pytest.approx(0.15)


def test_the_mean_change_has_the_interval_of_a_bootstrap_within_each_language() -> None:
    """Against scipy's bootstrap of all languages' documents as independent samples."""
    sizes = {"de": 30, "sw": 50}
    data = {lang: drawn(place, n, gap=0.02 * place) for place, (lang, n) in enumerate(sizes.items())}
    documents = {
        "ensemble": {lang: totals(mine.tolist(), n.tolist(), [1] * len(n)) for lang, (mine, _, n) in data.items()}
    }
    documents["dense"] = {lang: totals(base.tolist(), n.tolist(), [1] * len(n)) for lang, (_, base, n) in data.items()}
    documents["seed"] = documents["dense"]
    found = headline(compare(documents, {}, 20_000, 0), "ensemble")

    def ratio(rows: np.ndarray, index: np.ndarray) -> float:
        mine, base, n = rows[:, index]
        return float((base.sum() - mine.sum()) / n.sum())

    rng, drawn_means = np.random.default_rng(5), []
    for _ in range(20_000):
        parts = [ratio(np.stack(rows), rng.integers(0, len(rows[2]), len(rows[2]))) for rows in data.values()]
        drawn_means.append(sum(parts) / 2)
    low, high = np.quantile(drawn_means, [0.025, 0.975])
    assert found["mean_log_perplexity_ratio_low"] == pytest.approx(low, abs=0.04 * (high - low))
    assert found["mean_log_perplexity_ratio_high"] == pytest.approx(high, abs=0.04 * (high - low))
    exact = np.mean([ratio(np.stack(rows), np.arange(len(rows[2]))) for rows in data.values()])
    assert found["mean_log_perplexity_ratio"] == pytest.approx(exact)


def test_further_baselines_are_compared_with_under_their_names() -> None:
    langs, systems = corpus(20)
    systems["dense_tuned"] = systems["dense"] + 2.0  # exp(-0.2) = 0.82 of dense's perplexity
    summary = summarise(by_system(langs, systems), {}, 200, 0, baselines=("dense", "seed", "dense_tuned"))
    against = summary["systems"]["ensemble"]["against"]["dense_tuned"]  # type: ignore[call-overload, index]  # JSON
    assert (against["wins"], against["clear_losses"]) == (0, 2)  # sw is unclear, de and hi are not
    expected = math.log(0.9 * 1.1 * math.sqrt(0.9)) / 3 + 0.2
    assert against["mean_log_perplexity_ratio"] == pytest.approx(expected)
    assert summary["systems"]["dense_tuned"]["wins_over_dense"] == 3  # type: ignore[call-overload, index]  # JSON


def test_a_system_is_compared_on_the_same_draws_whatever_else_is_compared() -> None:
    langs, systems = corpus(8)
    alone = summarise(by_system(langs, systems), {}, 200, 0)
    more = summarise(by_system(langs, {**systems, "expert-0": systems["dense"] - 10}), {}, 200, 0)
    assert alone["per_language"]["sw"]["ensemble"] == more["per_language"]["sw"]["ensemble"]  # type: ignore[call-overload, index]  # JSON
    assert headline(compare(by_system(langs, systems), {}, 200, 0), "ensemble").items() <= alone.items()
