"""Token parts of made-up ids, as a corpus."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

from app.artifacts.layout import MANIFEST, TOKEN_META
from app.artifacts.store import Folder
from app.tokens.counts import PartCount, counts_to_json
from app.tokens.dataset import TokenCorpus
from app.tokens.index import index_file

Texts = dict[str, list[list[list[int]]]]
"""Language -> parts -> documents -> tokens."""


def write_corpus(folder: Path | Folder, texts: Texts, dtype: str = "uint16", split: str = "train") -> TokenCorpus:
    """Write the parts of one split; a document has 3 bytes a token, and as id its number in the part."""
    target, made = folder if isinstance(folder, Folder) else Folder(str(folder)), []
    for lang, parts in texts.items():
        for number, documents in enumerate(parts):
            lengths = np.asarray([len(document) for document in documents], dtype=np.int64)
            name = f"part-{number:05d}-000"
            ids = np.asarray(list(itertools.chain(*documents)), dtype=dtype)
            target.write(f"{lang}/{split}/{name}.bin", ids.tobytes())
            doc_ids = [f"{i:016x}" for i in range(len(documents))]
            target.write(f"{lang}/{split}/{name}.npy", index_file(doc_ids, lengths, (3 * lengths).tolist()))
            count = PartCount(name, len(documents), int(lengths.sum()), 3 * int(lengths.sum()))
            made.append((lang, split, count))
    target.write_json(TOKEN_META, {"dtype": dtype, "vocab_size": 60_000, "start_id": 0, "end_id": 0, "pad_id": 1})
    target.write_json(MANIFEST, {"counts": counts_to_json(texts, made)})
    return TokenCorpus.open(target)


def numbered(lengths_by_lang: dict[str, list[list[int]]]) -> Texts:
    """Documents of the given lengths, every token of the corpus another number."""
    count = itertools.count(1)
    return {
        lang: [[[next(count) for _ in range(length)] for length in part] for part in parts]
        for lang, parts in lengths_by_lang.items()
    }
