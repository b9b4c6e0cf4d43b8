"""The index of a part of tokens: numbers only, one record a document, as a .npy file: it can be read by range."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np

from app.core.records import Array, IntArray

RECORD = np.dtype([("document", "<u8"), ("offset", "<i8"), ("length", "<i8"), ("bytes", "<i8")])
"""``document``: the document's id, which is 64 bits. ``offset`` and ``length``: where its tokens stand in the part, in
tokens. ``bytes``: of its text in UTF-8."""


def document_numbers(doc_ids: Sequence[str]) -> Array:
    """Document ids, 16 hexadecimal digits each, as numbers, (n,) uint64."""
    # Digits stand with the highest byte first, whatever the machine's order is.
    return np.frombuffer(bytes.fromhex("".join(doc_ids)), ">u8").astype(np.uint64)


def document_id(number: int) -> str:
    """Inverse of ``document_numbers``."""
    return f"{number:016x}"


def index_file(doc_ids: Sequence[str], lengths: IntArray, sizes: Sequence[int]) -> bytes:
    """The index of documents that follow each other in a part, as a file. lengths: tokens, sizes: UTF-8 bytes."""
    index = np.empty(len(lengths), RECORD)
    index["document"], index["length"], index["bytes"] = document_numbers(doc_ids), lengths, sizes
    index["offset"] = np.cumsum(lengths) - lengths
    sink = io.BytesIO()
    np.save(sink, index, allow_pickle=False)
    return sink.getvalue()
