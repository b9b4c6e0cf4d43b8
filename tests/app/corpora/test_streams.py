from __future__ import annotations

import gzip
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from app.core.errors import CorpusError
from app.corpora.streams import CORRUPT, blocks, lines, open_binary, what_is_corrupt

Pack = Callable[[bytes], bytes]
CONTENT = b"first\n\nsecond line\n" + b"x" * 200_000 + b"\nlast without end"


def _zstandard(data: bytes) -> bytes:
    return bytes(pa.compress(data, codec="zstd", asbytes=True))


@pytest.mark.parametrize(("suffix", "pack"), [("jsonl", bytes), ("jsonl.gz", gzip.compress), ("jsonl.zst", _zstandard)])
def test_lines_are_those_of_splitting_on_newlines(tmp_path: Path, suffix: str, pack: Pack) -> None:
    file = tmp_path / f"a.{suffix}"
    file.write_bytes(pack(CONTENT))
    assert list(lines(blocks(str(file)), 1 << 20)) == CONTENT.split(b"\n")


@pytest.mark.parametrize(("suffix", "pack"), [("gz", gzip.compress), ("zst", _zstandard)])
def test_streams_of_several_members_are_read_to_the_end(tmp_path: Path, suffix: str, pack: Pack) -> None:
    file = tmp_path / f"a.{suffix}"
    file.write_bytes(pack(b"one\n") + pack(b"two\n"))
    assert list(lines(blocks(str(file)), 100)) == [b"one", b"two"]


@pytest.mark.parametrize("length", [9, 10, 11, 65_535, 65_536, 65_537, 300_000])
def test_a_line_over_the_limit_is_none_and_its_neighbours_stay(tmp_path: Path, length: int) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(b"before\n" + b"x" * length + b"\nafter\n" + b"y" * length)
    long = None if length > 10 else b"x" * length
    assert list(lines(blocks(str(file)), 10)) == [b"before", long, b"after", long and b"y" * length]


@pytest.mark.parametrize(("suffix", "pack"), [("gz", gzip.compress), ("zst", _zstandard)])
def test_memory_does_not_grow_with_the_length_of_a_line(tmp_path: Path, suffix: str, pack: Pack) -> None:
    file = tmp_path / f"a.{suffix}"
    file.write_bytes(pack(b"a" * (64 << 20) + b"\nshort\n"))
    tracemalloc.start()
    assert list(lines(blocks(str(file)), 1 << 20)) == [None, b"short"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


@pytest.mark.parametrize(("suffix", "pack"), [("gz", gzip.compress), ("zst", _zstandard)])
def test_a_truncated_stream_gives_the_lines_before_the_tear_and_then_fails(
    tmp_path: Path, suffix: str, pack: Pack
) -> None:
    whole = [bytes(str(number * 7919), "ascii") * 40 for number in range(20_000)]
    packed = pack(b"\n".join(whole))
    file = tmp_path / f"a.{suffix}"
    file.write_bytes(packed[: len(packed) // 2])
    read = []
    with pytest.raises(CORRUPT) as caught:
        for line in lines(blocks(str(file)), 1 << 20):
            read.append(line)
    assert read == whole[: len(read)] and len(read) > 1000
    assert what_is_corrupt("a", caught.value)


def test_what_is_no_such_stream_at_all_is_corrupt(tmp_path: Path) -> None:
    for suffix in ("gz", "zst"):
        file = tmp_path / f"a.{suffix}"
        file.write_bytes(b"neither gzip nor zstandard\n" * 10)
        with pytest.raises(CORRUPT) as caught:
            list(lines(blocks(str(file)), 100))
        assert what_is_corrupt("a", caught.value)


@pytest.mark.parametrize(
    "error", [FileNotFoundError(2, "gone"), PermissionError(13, "no"), ConnectionResetError("reset"), OSError(5, "EIO")]
)
def test_a_failing_storage_is_an_error_that_names_the_file_not_a_corrupt_stream(error: OSError) -> None:
    with pytest.raises(CorpusError, match=r"s3://bucket/file\.gz: cannot be read"):
        what_is_corrupt("s3://bucket/file.gz", error)


def test_an_address_of_an_unknown_kind_says_so() -> None:
    with pytest.raises(CorpusError, match="nowhere"), open_binary("nowhere://bucket/file.gz"):
        pass
