"""Documents to token files: one ``.bin`` of ids and one ``.npy`` index per part."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from app.artifacts.layout import TOKEN_META
from app.artifacts.store import Folder
from app.core.records import IntArray
from app.tokens.counts import PartCount
from app.tokens.index import index_file
from app.tokens.source import IDS, INDEX
from app.tokens.tokenizer import Tokenizer

# The encodings of a batch are all held at once, some 200 bytes for each token.
_BATCH_DOCUMENTS, _BATCH_BYTES = 256, 1 << 20


@dataclass(frozen=True)
class TokenMeta:
    """What a folder of tokens was made with; ``dtype`` is the smallest that holds the vocabulary."""

    tokenizer_digest: str
    vocab_size: int
    dtype: Literal["uint16", "uint32"]
    start_id: int
    end_id: int
    pad_id: int


def token_dtype(vocab_size: int) -> Literal["uint16", "uint32"]:
    """The smallest type that holds the vocabulary."""
    return "uint16" if vocab_size <= 1 << 16 else "uint32"


def token_meta(tokenizer: Tokenizer) -> TokenMeta:
    """The record for this tokenizer."""
    ids = (tokenizer.start_id, tokenizer.end_id, tokenizer.pad_id)
    return TokenMeta(tokenizer.digest, tokenizer.vocab_size, token_dtype(tokenizer.vocab_size), *ids)


def framed(ids: IntArray, start_id: int, end_id: int) -> IntArray:
    """A document as it stands in the stream: its tokens and the end token; a start token that differs goes first."""
    head = [] if start_id == end_id else [start_id]
    return np.concatenate([np.asarray(head, np.int64), ids, np.asarray([end_id], np.int64)])


def write_token_part(table: pa.Table, tokenizer: Tokenizer, target: Folder, name: str) -> PartCount:
    """Tokenize one shard part into ``target`` as ``name`` with the suffixes of ids and index; returns what it holds.

    table: columns doc_id, text, bytes. The index is written last, so it marks the part as complete.
    """
    meta = token_meta(tokenizer)
    texts: Sequence[str] = table["text"].to_pylist()
    parts: list[np.ndarray[tuple[int, ...], np.dtype[np.unsignedinteger]]] = []
    sizes: list[int] = table["bytes"].to_pylist()
    for batch in _batches(sizes):
        for ids in tokenizer.encode_batch(texts[batch]):
            # Narrow at once: what is held until the part is written is 2 or 4 bytes for a token and not 8.
            parts.append(framed(ids, meta.start_id, meta.end_id).astype(meta.dtype))
    lengths = np.asarray([len(part) for part in parts], dtype=np.int64)
    stream = np.concatenate(parts) if parts else np.zeros(0, meta.dtype)
    little_endian = np.dtype(meta.dtype).newbyteorder("<")
    target.write(f"{name}{IDS}", stream.astype(little_endian, copy=False).tobytes())
    target.write(f"{name}{INDEX}", index_file(table["doc_id"].to_pylist(), lengths, sizes))
    return PartCount(name, len(lengths), int(lengths.sum()), sum(sizes))


def _batches(sizes: Sequence[int]) -> Iterator[slice]:
    """Documents of these bytes that are tokenized together: a longer one is alone."""
    start = held = 0
    for place, size in enumerate(sizes):
        if place > start and (place - start == _BATCH_DOCUMENTS or held + size > _BATCH_BYTES):
            yield slice(start, place)
            start, held = place, 0
        held += size
    if sizes:
        yield slice(start, len(sizes))


def written_token_part(target: Folder, name: str) -> PartCount | None:
    """What a part holds that was written before; None if it is not complete."""
    if not target.exists(f"{name}{INDEX}"):
        return None
    index = np.load(io.BytesIO(target.read(f"{name}{INDEX}")), allow_pickle=False)
    return PartCount(name, len(index), int(index["length"].sum()), int(index["bytes"].sum()))


def write_meta(target: Folder, meta: TokenMeta) -> None:
    """Write the record at the root of a tokens folder."""
    target.write_json(TOKEN_META, asdict(meta))
