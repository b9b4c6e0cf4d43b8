"""The only module that spells a path of the artifact tree (docs/artifacts.md shows the same tree).

All names are relative to ``artifacts.root`` and use forward slashes, so they work on any fsspec filesystem.
"""

from __future__ import annotations

from typing import Literal, get_args

Stage = Literal["shards", "seed", "tokens", "allocation", "model", "evaluation"]
STAGES: tuple[Stage, ...] = get_args(Stage)

FORMAT_VERSION = 1
"""Raised when the content of any stage changes its meaning."""

MANIFEST = "manifest.json"
DONE = "DONE"

REJECTS = "rejects"
SIDECARS = "sidecars"
DATA_CARD = "data_card.json"

TOKENIZER = "tokenizer"
FINAL_MODEL = "final"
METRICS = "metrics.jsonl"
TENSORBOARD = "tensorboard"
LEASE = "lease.json"

ALLOCATOR = "allocator"
ASSIGNMENT = "documents"
CLUSTERS = "clusters.json"

SCORES = "tokens"
EVIDENCE = "evidence.json"

CONFIG = "config.yaml"
RUN = "run.json"
ENSEMBLE = "ensemble.json"
SUMMARY = "evaluation/summary.json"
TABLE_CSV = "evaluation/table.csv"
REPORT = "report/index.html"


def stage_folder(stage: Stage, key: str) -> str:
    """Content-addressed folder of one finished or unfinished stage."""
    return f"store/{stage}/{key}"


def run_folder(name: str) -> str:
    """Readable folder of one run."""
    return f"runs/{name}"


def shard_folder(lang: str, split: str) -> str:
    """Parquet parts of one language and split, inside a ``shards`` stage."""
    return f"{lang}/{split}"


def part_name(number: int, suffix: str) -> str:
    """Name of one numbered part, e.g. ``part-00003.parquet``."""
    return f"part-{number:05d}.{suffix}"


def step_folder(step: int) -> str:
    """Folder of one checkpoint, inside a ``model`` stage."""
    return f"step-{step:08d}"
