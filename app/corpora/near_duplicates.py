"""Near-duplicates by MinHash (datasketch): what was said before, nearly word for word, in the same language.

Two passes. The first reduces every document to a few hashes, one per band of its MinHash: two documents share a band
with a probability that rises steeply around the threshold of their Jaccard similarity. The second walks the documents
in the order of their files and marks each that shares a band with an earlier one, so the first of every group stays
and the answer does not depend on which task was done when. It holds one band of hashes at a time, 8 bytes of hash and
about 25 of sorting per document, and never the text.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import zlib
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pyarrow as pa
from datasketch import MinHash, MinHashLSH
from numpy.typing import NDArray

from app.core.records import Document, IntArray
from app.corpora.base import Reject

_PERMUTATIONS = 128
_SHINGLE_CHARACTERS = 5
_READ_CHARACTERS = 100_000
"""What follows in a document is not compared."""
_SHINGLES_AT_ONCE = 8192
"""datasketch holds 512 bytes for each."""
_CODE_POINT_BYTES = 4


@functools.cache
def band_shape(threshold: float) -> tuple[int, int]:
    """Bands and hashes per band with the least false answers around a Jaccard similarity, of 128 hashes in all.

    Two documents of similarity s share a band with probability 1 - (1 - s^hashes)^bands: for 0.8 (9 bands of 13) that
    is 0.08 at s = 0.7, 0.40 at 0.8 and 0.93 at 0.9.
    """
    index = MinHashLSH(threshold=threshold, num_perm=_PERMUTATIONS)
    return index.b, index.r


def band_hashes(document: Document, threshold: float) -> list[int]:
    """One unsigned 64-bit hash per band, with the language in it: only texts of one language can be duplicates.

    Compared are the sets of 5 successive characters, case and runs of white space aside, which works in every script.
    """
    bands, rows = band_shape(threshold)
    minhash = _empty_minhash().copy()
    shingles = _shingles(document.text)
    while some := list(itertools.islice(shingles, _SHINGLES_AT_ONCE)):
        minhash.update_batch(some)
    values = minhash.hashvalues.astype("<u4")
    lang = document.lang.encode() + b"\x1f"
    return [_digest(lang + values[band * rows : (band + 1) * rows].tobytes()) for band in range(bands)]


def sign_documents(rows: Iterable[Document | Reject], threshold: float) -> pa.Table:
    """A file's signatures: a uint64 column per band, a row per document in reading order; rejects have none."""
    hashes = [band_hashes(row, threshold) for row in rows if isinstance(row, Document)]
    columns = np.array(hashes, dtype=np.uint64).reshape(len(hashes), band_shape(threshold)[0])
    return pa.table({_band(number): column for number, column in enumerate(columns.T)})


def mark_near_duplicates(read: Callable[[int, list[str]], pa.Table], files: int, threshold: float) -> list[IntArray]:
    """For each file the numbers of its documents, in reading order, that share a band with an earlier document.

    read: columns of the signatures of one file. Earlier is by file, then by place in the file.
    """
    lengths = [read(file, [_band(0)]).num_rows for file in range(files)]
    marked = np.zeros(sum(lengths), dtype=np.bool_)
    for band in range(band_shape(threshold)[0]):
        columns = [read(file, [_band(band)])[_band(band)].to_numpy() for file in range(files)]
        marked |= _repeats(np.concatenate([np.empty(0, np.uint64), *columns]))
    ends = np.cumsum([0, *lengths])
    return [np.flatnonzero(marked[start:end]) for start, end in itertools.pairwise(ends)]


def _repeats(hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
    order = np.argsort(hashes, kind="stable")
    repeats = np.zeros(hashes.size, dtype=np.bool_)
    ordered = hashes[order]
    repeats[order[1:]] = ordered[1:] == ordered[:-1]
    return repeats


@functools.cache
def _empty_minhash() -> MinHash:
    return MinHash(num_perm=_PERMUTATIONS, seed=1, hashfunc=zlib.crc32, scheme="affine32")


def _shingles(text: str) -> Iterator[bytes]:
    points = " ".join(text[:_READ_CHARACTERS].casefold().split()).encode("utf-32-le")
    width = _SHINGLE_CHARACTERS * _CODE_POINT_BYTES
    return (points[at : at + width] for at in range(0, max(1, len(points) - width + 1), _CODE_POINT_BYTES))


def _digest(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")


def _band(number: int) -> str:
    return f"band-{number:02d}"
