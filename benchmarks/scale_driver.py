"""What the driver does alone, for made-up parts of many documents: no text, token or assignment is written or read."""

from __future__ import annotations

import tempfile

import numpy as np

from app.allocation.random_split import RandomAllocator
from app.allocation.storage import save_allocator
from app.artifacts.layout import ALLOCATOR, ASSIGNMENT, MANIFEST, SIZES, TOKEN_META
from app.artifacts.manifest import Manifest
from app.artifacts.store import Store
from app.config.load import load_config
from app.core.records import JsonObject
from app.core.seeding import generator
from app.lineage.parts import expert_weights, mixture_weights, read_parts, whole_part
from app.pipelines.assign import sum_assignment
from app.tokens.counts import PartCount, counts_to_json
from app.tokens.dataset import TokenCorpus
from app.training.budget import split_budget
from benchmarks import measure

LANGUAGES = ("de", "en", "fr", "sw")
_EXPERTS = tuple(f"expert-{number:02d}" for number in range(64))
_PART_DOCUMENTS, _DOCUMENT_TOKENS, _DOCUMENT_BYTES = 100_000, 50, 100


def alone(documents: int) -> JsonObject:
    """Peak bytes and CPU seconds of a process that reads the manifest, the mixture and the sizes of a cut into 64.

    Parts hold 100,000 documents each.
    """
    parts = max(1, documents // _PART_DOCUMENTS)
    config = load_config("demo", overrides=["training.budget_tokens=1000000000"])
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        write_stages(store, parts)
        with measure.measured() as usage:
            corpus = TokenCorpus.open(store.stage("tokens", "t"))
            mixture, totals = mixture_weights(config, corpus), corpus.counts.training_tokens()
            whole = whole_part("dense", corpus, corpus.languages())
            allocation = store.stage("allocation", "a")
            counts = sum_assignment(allocation, LANGUAGES)
            allocation.publish(
                Manifest("allocation", "a", {}, {}, {**counts, "experts": [*_EXPERTS], "unit": "document"})
            )
            held = read_parts(allocation, corpus)
            shares = [sum(expert_weights(part, mixture, totals, 128).values()) for part in held]
            budgets = split_budget(config.training.budget_tokens, shares, config.training.tokens_per_step)
    assert sum(sum(part.tokens.values()) for part in held) == sum(whole.tokens.values()) and len(budgets) == len(held)
    return {"parts": parts, "driver_peak_bytes": usage.peak_bytes, "cpu_seconds": usage.cpu_seconds}


def write_stages(store: Store, parts: int) -> None:
    """The manifest of so many parts of tokens, and the sizes of a cut of them, drawn at random."""
    tokens, cut = store.stage("tokens", "t"), store.stage("allocation", "a")
    save_allocator(RandomAllocator(_EXPERTS, 0), cut.child(ALLOCATOR).write)
    random, made = generator(0, "sizes"), []
    for number in range(parts):
        lang, name = LANGUAGES[number % len(LANGUAGES)], f"part-{number:05d}-000"
        made.append(
            (lang, "train", PartCount(name, *(_PART_DOCUMENTS * n for n in (1, _DOCUMENT_TOKENS, _DOCUMENT_BYTES))))
        )
        sizes = random.multinomial(_PART_DOCUMENTS, np.full(len(_EXPERTS), 1 / len(_EXPERTS)))
        found = {"expert": sizes.tolist(), "tokens": (_DOCUMENT_TOKENS * sizes).tolist()}
        digests = [f"{number:016x}{expert:016x}" for expert in range(len(_EXPERTS))]
        cut.write_json(f"{SIZES}/{ASSIGNMENT}/{lang}/{name}.json", {**found, "digests": [*digests]})
    tokens.write_json(TOKEN_META, {"dtype": "uint16", "vocab_size": 512, "start_id": 0, "end_id": 0, "pad_id": 1})
    tokens.write_json(MANIFEST, {"counts": counts_to_json(LANGUAGES, made)})
