"""What ``app.pipelines.duplicates`` finds slice by slice, found with all hashes in memory: the reference."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np

from app.artifacts.store import Folder
from app.core.records import Document
from app.corpora.base import Reject
from app.corpora.hash_slices import Hashes, repeats
from app.corpora.near_duplicates import band_shape, sign_documents
from app.corpora.shards import part_names, read_part


def mark_all_at_once(files: Sequence[Iterable[Document | Reject]], threshold: float) -> list[list[int]]:
    """For each file the numbers of its documents that share a band with an earlier document."""
    signed = [sign_documents(rows, threshold) for rows in files]
    lengths = [columns[0].size for columns in signed]
    marked = np.zeros(sum(lengths), dtype=np.bool_)
    for band in range(band_shape(threshold)[0]):
        marked |= repeats(np.concatenate([columns[band] for columns in signed]))
    ends = np.cumsum([0, *lengths])
    return [np.flatnonzero(marked[start:end]).tolist() for start, end in itertools.pairwise(ends)]


def count_all_at_once(stage: Folder, lang: str) -> tuple[int, int]:
    """Training documents that repeat one, and held-out ones that are trained on."""
    trained, held_out = _digests(stage, lang, "train"), _digests(stage, lang, "validation")
    unique = np.unique(trained)
    return int(trained.size - unique.size), int(np.isin(held_out, unique).sum())


def _digests(stage: Folder, lang: str, split: str) -> Hashes:
    digests = [np.empty(0, np.uint64)]
    for part in part_names(stage, lang, split):
        doc_ids = read_part(stage, lang, split, part, ["doc_id"])["doc_id"].to_pylist()
        digests.append(np.frombuffer(bytes.fromhex("".join(doc_ids)), dtype=">u8").astype(np.uint64))
    return np.concatenate(digests)
