from __future__ import annotations

from pathlib import Path

import pytest

from app.core.records import JsonObject
from benchmarks.languages import _as_text, _planned, exponents


def side(**cpu_seconds: float) -> JsonObject:
    return {"cpu_seconds": dict(cpu_seconds)}


def test_work_is_fitted_above_that_of_the_smallest_size() -> None:
    found = exponents({4: side(shard=1, tokenize=5), 25: side(shard=3, tokenize=6), 100: side(shard=33, tokenize=6)})
    # 2 and 32 more, for four times the languages; the other hardly grows.
    assert found == {"shard": pytest.approx(2.0), "tokenize": None}


def test_a_cut_that_the_smallest_size_cannot_have_is_fitted_as_it_is_and_that_of_one_size_not_at_all() -> None:
    found = exponents({4: side(), 25: side(k16=2), 50: side(k16=4), 100: side(k16=8, k64=9)})
    assert found == {"k16": pytest.approx(1.0), "k64": None}


def test_every_cut_is_routed_by_and_no_more_experts_than_languages_are_asked_for(tmp_path: Path) -> None:
    names = [name for name, _ in _planned(20, 10, str(tmp_path))]
    cuts = [
        f"{what} {cut} k={k}" for cut in ("typological", "tfidf") for k in (4, 16) for what in ("allocate", "route")
    ]
    assert names == ["shard", "seed", "tokenize", *cuts, "train k=4", "evaluate k=4"]
    assert "allocate typological k=64" in [name for name, _ in _planned(64, 10, str(tmp_path))]


def test_the_table_has_a_row_for_each_stage_of_the_largest_size() -> None:
    by_languages = {4: side(shard=1.0), 100: side(shard=33.0, extra=2.0)}
    found: JsonObject = {
        "exponent_by_languages": {"shard": 1.04, "extra": None},
        "exponent_by_documents": {"shard": 0.98},
        "fleet": {"models": 64, "seconds": 301.23},
    }
    text = _as_text(found, by_languages)
    assert [" ".join(line.split()) for line in text.splitlines()][2:4] == [
        "| shard | 33.0 | 1.04 | 0.98 |",
        "| extra | 2.0 | | |",
    ]
    assert "301.2" in text
