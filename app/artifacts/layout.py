"""The only module that spells a path of the artifact tree of runs and stages (docs/artifacts.md shows the same tree).

All names are relative to ``artifacts.root`` and use forward slashes, so they work on any fsspec filesystem.
"""

from __future__ import annotations

from typing import Literal, get_args

Stage = Literal[
    "shards", "tokenizer", "tokens", "probe", "allocation", "model", "scores", "evaluation", "samples", "confusion"
]
STAGES: tuple[Stage, ...] = get_args(Stage)

FORMAT_VERSION = 3
"""Raised when the content of any stage changes its meaning."""

MANIFEST = "manifest.json"
DONE = "DONE"

REJECTS = "rejects"
SIDECARS = "sidecars"
SIGNATURES = "signatures"
PIECES = "pieces"
DIGESTS = "digests"
DATA_CARD = "data_card.json"

TOKENIZER = "tokenizer"
TOKEN_META = "meta.json"
RAY_RUNS = "ray"
FINAL_MODEL = "final"
METRICS = "metrics.jsonl"
TENSORBOARD = "tensorboard"
LEASE = "lease.json"

ALLOCATOR = "allocator"
ASSIGNMENT = "documents"
HELD_OUT = "held_out"
SIZES = "sizes"
PART_TOKENS = "part_tokens"
SAMPLE = "sample"
ALLOCATOR_DONE = "allocator.DONE"
TOP_TERMS = "top_terms.json"
PROBE_FOUND = "probe.json"

DOCUMENT_ROWS = "documents.parquet"
EVALUATION_SUMMARY = "summary.json"
SAMPLES = "samples.json"
WRITTEN = "written"
CONFUSION = "confusion.json"

CONFIG = "config.yaml"
RUN = "run.json"
FLEET = "fleet.json"
STOP = "stop.json"
DRIVER = "driver.json"
ENSEMBLES = "ensembles"
ADAPTATIONS = "adaptation"
CURRENT_ENSEMBLE = f"{ENSEMBLES}/current.json"
EXPORTED_ENSEMBLE = "ensemble.json"
SUMMARY = "evaluation/summary.json"
TABLE_CSV = "evaluation/table.csv"
CROSS_LINGUAL = "evaluation/cross_lingual.json"
REPORT = "report/index.html"
RUNS = "runs"
COMPARISON = "compare/index.html"
EXPORT = "export"
MIXTURE_PROGRAM = "mixture.py"
CARD = "README.md"
LINEAGE = "lineage.json"


def stage_folder(stage: Stage, key: str) -> str:
    """Content-addressed folder of one finished or unfinished stage."""
    return f"store/{stage}/{key}"


def run_folder(name: str) -> str:
    """Readable folder of one run."""
    return f"{RUNS}/{name}"


def probe_name(lang: str) -> str:
    """What a probe says of one language, inside a ``probe`` stage."""
    return f"{lang}.npy"


def probe_layers_name(lang: str) -> str:
    """How much a short training on one language changes each layer, inside a ``probe`` stage."""
    return f"layers/{lang}.npy"


def part_tokens_name(lang: str) -> str:
    """Tokens of each expert in each training part of a language, inside an ``allocation`` stage that cuts documents."""
    return f"{PART_TOKENS}/{lang}.npy"


def shard_folder(lang: str, split: str) -> str:
    """Parquet parts of one language and split, inside a ``shards`` stage."""
    return f"{lang}/{split}"


def part_name(file: int, chunk: int, suffix: str) -> str:
    """Name of one part: the number of its source file and its place in it, e.g. ``part-00003-000.parquet``."""
    return f"part-{file:05d}-{chunk:03d}.{suffix}"


def sidecar_name(file: int) -> str:
    """Counts of one source file; written last, so it marks the file's parts as complete."""
    return f"{SIDECARS}/{file:05d}.json"


def rejects_name(file: int) -> str:
    """Rows of one source file that could not be used, with their reasons."""
    return f"{REJECTS}/{file:05d}.jsonl"


def signatures_name(unit: str) -> str:
    """What a unit's documents are compared by; only while near-duplicates are being looked for."""
    return f"{SIGNATURES}/{unit}.bin"


def marks_name(units: str, band: int, part: int, parts: int) -> str:
    """Which documents of these units (a digest of their names) repeat one by a slice of a band."""
    return f"{SIGNATURES}/marks-{units}/{band:02d}-{part:04d}-of-{parts:04d}.bin"


def digests_name(lang: str, split: str, part: str) -> str:
    """The documents' ids of one part, sorted; only while duplicates are being counted."""
    return f"{DIGESTS}/{lang}/{split}/{part}.bin"


def unit_name(file: int, span: int | None = None) -> str:
    """A source file, or one of the spans in which it is read."""
    return f"{file:05d}" if span is None else f"{file:05d}-{span:04d}"


def spans_name(file: int) -> str:
    """Where a large source file is cut; only while the corpus is being read."""
    return f"{PIECES}/{file:05d}.json"


def piece_folder(file: int, span: int) -> str:
    """What was read of one span of a source file; until all of them are put together."""
    return f"{PIECES}/{unit_name(file)}/{span:04d}"


def scores_index_name(block: int) -> str:
    """The documents of one block, inside a ``scores`` stage; written last, so it marks the block as complete."""
    return f"index-{block:05d}.parquet"


def scores_values_name(block: int) -> str:
    """Log-probabilities of one block's tokens, inside a ``scores`` stage."""
    return f"log_probs-{block:05d}.npy"


def distances_name(block: int) -> str:
    """Distances of one block's tokens, inside an ``evaluation`` stage."""
    return f"distances-{block:05d}.npy"


def ensemble_name(version: int) -> str:
    """One version of a run's ensemble."""
    return f"{ENSEMBLES}/{version:04d}.json"


def adaptation_name(version: int) -> str:
    """What the round of adaptation found that made this version of the ensemble."""
    return f"{ADAPTATIONS}/{version:04d}.json"


def written_name(system: str, lang: str) -> str:
    """What one system wrote in one language, inside a ``confusion`` stage."""
    return f"{WRITTEN}/{system}/{lang}.json"


def step_folder(step: int) -> str:
    """Folder of one checkpoint, inside a ``model`` stage."""
    # Zeros as in all numbered names here, so that names sort as the numbers do.
    return f"step-{step:08d}"
