from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmarks import data


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("part") / "part.parquet"
    pq.write_table(data.documents("", 3), place)
    return place


def test_all_sides_make_the_same_tokens(part: Path) -> None:
    ours, mapped, raw = (side(str(part)) for side in (data.ours, data.datasets_map, data.raw))
    assert ours["tokens"] == mapped["tokens"] == raw["tokens"]
    assert ours["text_bytes"] == sum(pq.read_table(part)["bytes"].to_pylist())


def test_documents_of_all_languages_are_mixed(part: Path) -> None:
    texts = pq.read_table(part)["text"].to_pylist()
    assert len(texts) == len(set(texts)) == 3 * 16
