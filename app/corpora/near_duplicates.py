"""Near-duplicates by MinHash (datasketch): what was said before, nearly word for word, in the same language.

Two passes. The first reduces every document to a few hashes, one per band of its MinHash: two documents share a band
with a probability that rises steeply around the threshold of their Jaccard similarity. The second marks each document
that shares a band with an earlier one by the order of the files, so the first of every group stays and the answer does
not depend on which task was done when. It looks at one slice of one band of all documents at a time, and never at text.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import zlib
from array import array
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from datasketch import MinHash, MinHashLSH

from app.core.records import Document
from app.corpora.base import Reject
from app.corpora.hash_slices import Hashes, Numbers, repeats

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
    # Copied, since the permutations would else be drawn anew for each document.
    minhash = _empty_minhash().copy()
    shingles = _shingles(document.text)
    while some := list(itertools.islice(shingles, _SHINGLES_AT_ONCE)):
        minhash.update_batch(some)
    # Their bytes are hashed, so they must be the same on every machine; the scheme has values of 32 bits.
    values = minhash.hashvalues.astype("<u4")
    lang = document.lang.encode() + b"\x1f"
    return [_digest(lang + values[band * rows : (band + 1) * rows].tobytes()) for band in range(bands)]


def sign_documents(rows: Iterable[Document | Reject], threshold: float) -> list[Hashes]:
    """A file's signatures: a column of hashes for each band, a row per document in reading order; rejects have none."""
    held = array("Q")  # a million documents are lists of numbers of half a gigabyte, or an array of 72 MB
    for row in rows:
        if isinstance(row, Document):
            held.extend(band_hashes(row, threshold))
    return list(np.array(held, dtype=np.uint64).reshape(-1, band_shape(threshold)[0]).T)


def mark_repeats(slices: Sequence[tuple[Hashes, Numbers]]) -> list[Numbers]:
    """For each unit the numbers of its documents whose hash is that of an earlier document.

    slices: the same slice of one band of each unit. Earlier is by unit, then by number.
    """
    marked = repeats(np.concatenate([np.empty(0, np.uint64), *(hashes for hashes, _ in slices)]))
    ends = np.cumsum([0, *(hashes.size for hashes, _ in slices)])
    return [
        numbers[marked[start:end]] for (start, end), (_, numbers) in zip(itertools.pairwise(ends), slices, strict=True)
    ]


@functools.cache
def _empty_minhash() -> MinHash:
    # All that decides a hash is named here: signatures of other tasks and runs are compared with it.
    return MinHash(num_perm=_PERMUTATIONS, seed=1, hashfunc=zlib.crc32, scheme="affine32")


def _shingles(text: str) -> Iterator[bytes]:
    # Four bytes for every character, so that a slice of bytes is a slice of characters; in UTF-8 it is not.
    points = " ".join(text[:_READ_CHARACTERS].casefold().split()).encode("utf-32-le")
    width = _SHINGLE_CHARACTERS * _CODE_POINT_BYTES
    return (points[at : at + width] for at in range(0, max(1, len(points) - width + 1), _CODE_POINT_BYTES))


def _digest(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")
