"""Rows that can be learnt, specs of a few steps, and a finished tokens stage."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from app.artifacts.manifest import Manifest
from app.artifacts.store import StageFolder, Store
from app.core.records import IntArray
from app.tokens.counts import counts_to_json
from app.tokens.dataset import TokenCorpus
from app.tokens.packing import token_meta, write_meta, write_token_part
from app.tokens.tokenizer import Tokenizer
from app.training.hooks import StepMetrics, StopRequest
from app.training.loop import TrainingSpec

SPEC = TrainingSpec(
    key="k",
    run_seed=7,
    budget_tokens=8 * 4 * 8,
    sequence_length=8,
    tokens_per_step=4 * 8,
    micro_batch_rows=4,
    learning_rate=0.01,
    schedule="cosine",
    warmup_fraction=0.25,
    final_learning_rate_fraction=0.1,
    weight_decay=0.1,
    beta1=0.9,
    beta2=0.95,
    epsilon=1e-8,
    clip_norm=1.0,
    precision="fp32",
    activation_checkpointing=False,
    loss_chunk_tokens=10,
    checkpoint_every_steps=100,
    device="cpu",
)
"""Eight steps of four rows of eight predictions."""


class Counting:
    """Row i counts upwards from a number that i decides: the next token follows from the last."""

    def __init__(self, length: int = SPEC.sequence_length, vocabulary: int = 37) -> None:
        self.length, self.vocabulary = length, vocabulary
        self.asked: list[tuple[int, int]] = []

    def rows(self, start: int, stop: int) -> IntArray:
        """Rows start..stop-1."""
        self.asked.append((start, stop))
        first = np.arange(start, stop, dtype=np.int64)[:, None] * 11
        return 2 + (first + np.arange(self.length + 1)) % (self.vocabulary - 2)

    def languages(self, start: int, stop: int) -> list[str]:
        """Languages of rows start..stop-1, in turns."""
        return [("de", "en", "sw")[i % 3] for i in range(start, stop)]


class Recorder:
    """A hook that keeps what it is told, and asks for a stop or fails at a step."""

    def __init__(self, stop_at: int = -1, stop: StopRequest | None = None, fail_at: int = -1) -> None:
        self.started: list[int] = []
        self.metrics: list[StepMetrics] = []
        self.closed = 0
        self._stop_at, self._stop, self._fail_at = stop_at, stop, fail_at

    def start(self, step: int) -> None:
        """Keep the step."""
        self.started.append(step)

    def step(self, metrics: StepMetrics) -> None:
        """Keep the metrics; stop or fail where asked to."""
        self.metrics.append(metrics)
        if metrics.step == self._stop_at and self._stop is not None:
            self._stop.ask("test")
        if metrics.step == self._fail_at:
            raise RuntimeError(f"killed after step {metrics.step}")

    def close(self) -> None:
        """Count."""
        self.closed += 1


def write_tokens(store: Store, key: str, tokenizer: Tokenizer, texts: Mapping[str, list[str]]) -> StageFolder:
    """A complete ``tokens`` stage with two training parts per language, of five documents and of the others."""
    stage = store.stage("tokens", key)
    made = []
    for number, (lang, documents) in enumerate(texts.items()):
        for part, (start, stop) in enumerate(((0, 5), (5, len(documents)))):
            chosen = documents[start:stop]
            columns: dict[str, Any] = {
                "doc_id": doc_ids(number, start, stop),
                "text": pa.array(chosen, pa.large_string()),
                "bytes": [len(text.encode()) for text in chosen],
            }
            target = stage.child(f"{lang}/train")
            made.append(
                (lang, "train", write_token_part(pa.table(columns), tokenizer, target, f"part-00000-{part:03d}"))
            )
    write_meta(stage, token_meta(tokenizer))
    stage.publish(Manifest("tokens", key, {}, {}, counts_to_json(texts, made)))
    return stage


def doc_ids(language: int, start: int, stop: int) -> list[str]:
    """Ids of documents of the language with this number in ``write_tokens``."""
    return [f"{language:08x}{number:08x}" for number in range(start, stop)]


def write_assignment(store: Store, lang: str, number: int, experts: Sequence[int]) -> None:
    """Who holds the documents that ``write_tokens`` wrote of the language with this number, as allocation ``a``."""
    stage, corpus = store.stage("allocation", "a"), TokenCorpus.open(store.stage("tokens", "t"))
    held = np.zeros((max(experts) + 1, 2), np.int64)
    for part, (start, stop) in enumerate(((0, 5), (5, len(experts)))):
        sink = io.BytesIO()
        table = pa.table({"doc_id": doc_ids(number, start, stop), "expert": pa.array(experts[start:stop], pa.int64())})
        pq.write_table(table, sink)
        stage.write(f"documents/{lang}/part-00000-{part:03d}.parquet", sink.getvalue())
        lengths = corpus.index(lang, "train", corpus.counts.parts(lang, "train")[part])["length"]
        for owner, length in zip(experts[start:stop], lengths.tolist(), strict=False):
            held[owner, part] += length
    sink = io.BytesIO()
    np.save(sink, held)
    stage.write(f"part_tokens/{lang}.npy", sink.getvalue())
