"""Text to packed token rows: ours against ``datasets.map``, with the bare tokenizer as the ceiling.

``python -m benchmarks.data [--small] [--corpus <folder>] [--format json]``. Ours: one shard part tokenized into ids and
index on disk, then every training row read once. ``datasets_map``: batched tokenizing and grouping into rows as its
users write it, then every row read once. ``raw``: the same tokenizer's ``encode_batch_fast`` and nothing else. One
process and one thread, 64 documents to warm up. The floor is the text copied once in memory and the ids once.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from app.artifacts.layout import MANIFEST
from app.artifacts.store import Folder
from app.core.records import JsonObject
from app.tokens.counts import counts_to_json
from app.tokens.dataset import TokenCorpus
from app.tokens.packing import token_meta, write_meta, write_token_part
from app.tokens.rows import BlockDataset
from app.tokens.tokenizer import load_tokenizer
from benchmarks import measure
from benchmarks.text import DEMO_SEED, read_text

OF_RAW = 0.9
_LENGTH, _BATCH, _ROWS_AT_ONCE, _WARM_UP = 128, 256, 32, 64
_LANG = "en"  # rows are of one language each; one name for all of the text is as good as sixteen
_SIDES = ("ours", "datasets_map", "raw")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit status."""
    arguments = measure.parser("data", __doc__).parse_args(argv)
    turns = arguments.turns or (2 if arguments.small else 5)
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "part.parquet"
        pq.write_table(documents(arguments.corpus, 20 if arguments.small else 300), part)
        runs = measure.in_turns([f"benchmarks.data:{side}" for side in _SIDES], {"part": str(part)}, turns)
    ours, mapped, raw = runs.values()
    record: JsonObject = {
        "benchmark": "data",
        "surroundings": measure.surroundings("tokenizers", "datasets", "transformers", "pyarrow", "numpy"),
        "text": "corpus" if arguments.corpus else "almanac",
        "turns": turns,
        "tokenizing_over_raw": measure.against(OF_RAW, measure.ratio(ours, raw, "tokens_per_cpu_second"), True),
        "tokenizing_over_datasets": measure.ratio(ours, mapped, "tokens_per_cpu_second"),
        "rows_read_over_datasets": measure.ratio(ours, mapped, "rows_per_cpu_second"),
        "peak_memory_over_datasets": measure.ratio(ours, mapped, "peak_bytes"),
        **{side: measure.medians(results) for side, results in zip(_SIDES, runs.values(), strict=True)},
    }
    measure.show(record, arguments.format)
    return 0


def documents(corpus: str, per_language: int) -> pa.Table:
    """Documents of all languages in turn, as the columns of a shard part."""
    found = read_text(corpus, per_language)
    order = np.random.default_rng(0).permutation(len(found))
    texts = [found[i].text for i in order]
    return pa.table(
        {
            "doc_id": [found[i].doc_id for i in order],
            "lang": [_LANG] * len(texts),
            "text": pa.array(texts, pa.large_string()),
            "bytes": [len(text.encode()) for text in texts],
        }
    )


def ours(part: str) -> JsonObject:
    """The way of ``jobs.tokenize`` and of training, without Ray."""
    tokenizer = load_tokenizer(DEMO_SEED)
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as warm:
        stage = Folder(folder)
        write_token_part(pq.read_table(part).slice(0, _WARM_UP), tokenizer, Folder(warm), "part-0")
        with measure.measured() as tokenizing:
            made = write_token_part(pq.read_table(part), tokenizer, stage.child(f"{_LANG}/train"), "part-0")
            write_meta(stage, token_meta(tokenizer))
            stage.write_json(MANIFEST, {"counts": counts_to_json([_LANG], [(_LANG, "train", made)])})
        with measure.measured() as reading:
            corpus = TokenCorpus.open(stage)
            rows = BlockDataset(corpus, {_LANG: 1.0}, _LENGTH, made.tokens // _LENGTH, seed=0)
            for start in range(0, len(rows), _ROWS_AT_ONCE):
                rows.rows(start, min(start + _ROWS_AT_ONCE, len(rows)))
        return _figures(made.tokens, tokenizing, len(rows), reading, part)


def datasets_map(part: str) -> JsonObject:
    """Two passes of ``datasets.map``: tokenize with the end token, then concatenate each batch and cut it into rows."""
    from datasets import Dataset  # imported late: the other sides must not hold its memory
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(DEMO_SEED)

    def tokenize(batch: Mapping[str, list[str]]) -> dict[str, list[list[int]]]:
        ids = tokenizer(batch["text"], add_special_tokens=False, return_attention_mask=False)["input_ids"]
        return {"input_ids": [[*document, tokenizer.eos_token_id] for document in ids]}

    def group(batch: Mapping[str, list[list[int]]]) -> dict[str, list[list[int]]]:
        stream = list(chain.from_iterable(batch["input_ids"]))
        return {"input_ids": [stream[i : i + _LENGTH] for i in range(0, len(stream) - _LENGTH + 1, _LENGTH)]}

    with tempfile.TemporaryDirectory() as folder:
        few = Dataset(pq.read_table(part, columns=["text"]).slice(0, _WARM_UP))
        few.map(tokenize, batched=True, remove_columns=["text"], cache_file_name=f"{folder}/few.arrow")
        with measure.measured() as tokenizing:
            text = Dataset.from_parquet(part, cache_dir=folder)
            options = {"batched": True, "remove_columns": text.column_names}
            ids = text.map(tokenize, cache_file_name=f"{folder}/ids.arrow", **options)
            packed = ids.map(group, batched=True, cache_file_name=f"{folder}/rows.arrow")
        tokens = sum(len(document) for document in ids["input_ids"])
        with measure.measured() as reading:
            shuffled = packed.with_format("numpy").shuffle(seed=0)
            for start in range(0, len(shuffled), _ROWS_AT_ONCE):
                shuffled[start : start + _ROWS_AT_ONCE]
        return _figures(tokens, tokenizing, len(packed), reading, part)


def raw(part: str) -> JsonObject:
    """The tokenizer alone, over texts that are in memory already."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(f"{DEMO_SEED}/tokenizer.json")
    texts = pq.read_table(part)["text"].to_pylist()
    tokenizer.encode_batch_fast(texts[:_WARM_UP], add_special_tokens=False)
    tokens = 0
    with measure.measured() as tokenizing:
        for start in range(0, len(texts), _BATCH):
            encoded = tokenizer.encode_batch_fast(texts[start : start + _BATCH], add_special_tokens=False)
            tokens += sum(len(encoding) for encoding in encoded)
    return _figures(tokens + len(texts), tokenizing, 0, None, part)


def _figures(tokens: int, tokenizing: measure.Usage, rows: int, reading: measure.Usage | None, part: str) -> JsonObject:
    text_bytes = sum(pq.read_table(part, columns=["bytes"])["bytes"].to_pylist())
    floor = (text_bytes + 2 * tokens) / measure.copied_bytes_per_cpu_second()
    figures: JsonObject = {
        "tokens": tokens,
        "text_bytes": text_bytes,
        "tokenize_cpu_seconds": tokenizing.cpu_seconds,
        "tokens_per_cpu_second": tokens / tokenizing.cpu_seconds,
        "floor_cpu_seconds": floor,
        "peak_bytes": (reading or tokenizing).peak_bytes,
    }
    if reading is not None:
        figures["rows_per_cpu_second"] = rows / reading.cpu_seconds
    return figures


if __name__ == "__main__":
    sys.exit(main())
