"""What each expert of a document-level cut holds: counted for each part where it is assigned, summed by language."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from app.core.records import IntArray


@dataclass(frozen=True)
class Holdings:
    """Of k experts, in their order: (k,) documents and tokens, and a digest for each that says which documents."""

    documents: IntArray
    tokens: IntArray
    digests: tuple[str, ...]


def part_holdings(owner: IntArray, lengths: IntArray, experts: int) -> Holdings:
    """What experts hold of one part. owner: (n,) the expert of each document, lengths: (n,) its tokens."""
    documents, tokens = np.bincount(owner, minlength=experts), np.zeros(experts, np.int64)
    np.add.at(tokens, owner, lengths)
    # Over a document's place and never the expert's number: two cuts that give the same documents share one expert.
    # Little-endian in 8 bytes on every machine: keys are made of this.
    places = (np.flatnonzero(owner == expert).astype("<i8").tobytes() for expert in range(experts))
    # Short, since each part has one for each expert.
    return Holdings(documents, tokens, tuple(hashlib.blake2b(of, digest_size=16).hexdigest() for of in places))


def summed_holdings(parts: Iterable[tuple[str, Holdings]], experts: int) -> Holdings:
    """What experts hold of all parts of a language. parts: names and holdings, in order of the names."""
    documents, tokens = np.zeros(experts, np.int64), np.zeros(experts, np.int64)
    digests = [hashlib.sha256() for _ in range(experts)]
    for name, held in parts:
        documents += held.documents
        tokens += held.tokens
        for digest, found in zip(digests, held.digests, strict=True):
            digest.update(f"{name} {found}\n".encode())
    return Holdings(documents, tokens, tuple(digest.hexdigest() for digest in digests))
