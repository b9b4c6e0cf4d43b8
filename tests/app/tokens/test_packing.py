from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from app.artifacts.store import Folder
from app.tokens.counts import PartCount
from app.tokens.packing import _batches, framed, token_meta, write_meta, write_token_part, written_token_part
from app.tokens.tokenizer import Tokenizer, load_tokenizer, train_tokenizer

TEXTS = ["abc abd", "", "世界 abc", "abc " * 300]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(TEXTS, 330, str(folder))
    return load_tokenizer(str(folder))


def shard(texts: list[str]) -> pa.Table:
    return pa.table(
        {
            "doc_id": [f"{number:016x}" for number in range(len(texts))],
            "lang": ["en"] * len(texts),
            "text": pa.array(texts, pa.large_string()),
            "bytes": [len(text.encode()) for text in texts],
        }
    )


def test_each_document_is_found_by_offset_and_length(tokenizer: Tokenizer, tmp_path: Path) -> None:
    count = write_token_part(shard(TEXTS), tokenizer, Folder(str(tmp_path)), "part-00000-000")
    stream = np.fromfile(tmp_path / "part-00000-000.bin", dtype="<u2")
    index = np.load(tmp_path / "part-00000-000.npy", allow_pickle=False)
    assert (count.name, count.documents, count.tokens) == ("part-00000-000", len(TEXTS), len(stream))
    assert count.bytes == sum(len(text.encode()) for text in TEXTS)
    for number, (text, row) in enumerate(zip(TEXTS, index, strict=True)):
        ids = stream[row["offset"] : row["offset"] + row["length"]]
        assert ids[-1] == tokenizer.end_id and tokenizer.end_id not in ids[:-1]
        assert tokenizer.decode(ids.tolist()) == text
        assert row["bytes"] == len(text.encode()) and row["document"] == number


def test_a_part_without_documents_is_empty(tokenizer: Tokenizer, tmp_path: Path) -> None:
    empty = PartCount("part-00000-000", 0, 0, 0)
    assert write_token_part(shard([]), tokenizer, Folder(str(tmp_path)), empty.name) == empty
    assert (tmp_path / "part-00000-000.bin").read_bytes() == b""
    assert len(np.load(tmp_path / "part-00000-000.npy", allow_pickle=False)) == 0
    assert written_token_part(Folder(str(tmp_path)), empty.name) == empty


def test_a_part_that_is_there_is_counted_and_one_without_its_index_is_not(tokenizer: Tokenizer, tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    assert written_token_part(folder, "part-00000-000") is None
    made = write_token_part(shard(TEXTS), tokenizer, folder, "part-00000-000")
    assert written_token_part(folder, "part-00000-000") == made
    (tmp_path / "part-00000-000.npy").unlink()
    assert written_token_part(folder, "part-00000-000") is None


def test_writing_again_gives_the_same_files(tokenizer: Tokenizer, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_token_part(shard(TEXTS), tokenizer, Folder(str(tmp_path / name)), "part-00000-000")
    for suffix in ("bin", "npy"):
        files = [(tmp_path / name / f"part-00000-000.{suffix}").read_bytes() for name in ("one", "two")]
        assert files[0] == files[1]


@pytest.mark.parametrize(("size", "dtype"), [(1 << 16, "uint16"), ((1 << 16) + 1, "uint32"), (256_008, "uint32")])
def test_the_dtype_is_the_smallest_that_holds_the_vocabulary(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, size: int, dtype: str
) -> None:
    monkeypatch.setattr(tokenizer, "vocab_size", size)
    meta = token_meta(tokenizer)
    assert meta.dtype == dtype
    assert np.iinfo(meta.dtype).max >= size - 1


def test_a_start_token_that_differs_goes_first() -> None:
    ids = np.array([7, 8], dtype=np.int64)
    assert framed(ids, 2, 2).tolist() == [7, 8, 2]
    assert framed(ids, 1, 2).tolist() == [1, 7, 8, 2]


def test_meta_says_what_the_tokens_were_made_with(tokenizer: Tokenizer, tmp_path: Path) -> None:
    write_meta(Folder(str(tmp_path)), token_meta(tokenizer))
    meta = json.loads((tmp_path / "meta.json").read_text())
    assert meta["tokenizer_digest"] == tokenizer.digest
    assert (meta["start_id"], meta["end_id"], meta["dtype"]) == (tokenizer.start_id, tokenizer.end_id, "uint16")


def test_documents_share_a_batch_up_to_a_number_and_a_megabyte_and_a_longer_one_is_alone() -> None:
    mib = 1 << 20
    assert list(_batches([])) == []
    assert [(part.start, part.stop) for part in _batches([1] * 600)] == [(0, 256), (256, 512), (512, 600)]
    sizes = [mib // 2, mib // 2, 1, 5 * mib, 1, 1]
    assert [(part.start, part.stop) for part in _batches(sizes)] == [(0, 2), (2, 3), (3, 4), (4, 6)]
