"""All of ``jobs.all`` over a large generated text, on three nodes of which one is killed during each stage.

``python -m benchmarks.scale_faults [--megabytes N] [--format json]``. The text is in mC4's layout: 16 languages, files
of about 16 MB before gzip, documents of lines of the almanac in an order of their own. Documents are cut by TF-IDF. In
each of ``STRUCK`` a node that works is killed (-9, with all its children, as a machine that is gone) and another
joins. What must come out: exit status 0, and every document written is in the shards.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from app.artifacts.store import Store
from app.core.records import JsonObject
from app.core.seeding import generator
from benchmarks import measure
from benchmarks.raylets import Raylets, with_token
from benchmarks.scale_documents import is_worker
from benchmarks.text import LANGUAGES, read_text

STRUCK = ("shard", "seed", "allocate", "train", "evaluate")
"""Stages of ``jobs.all`` in which nodes have work; `seed` makes the tokens too, and `tokenize` finds them there."""
_NODES = 3
_POOL, _LINES, _FILE_BYTES = 300, 12, 16_000_000
_LOOK_SECONDS = 0.5
_STAGE = re.compile(r"stage \d+ of \d+: (\w+)")
_SETTINGS = (
    "run.name=faults",
    "corpus.source=files",
    f"corpus.languages={','.join(LANGUAGES)}",
    "allocation.strategy=tfidf",
    "allocation.k=8",
    "training.budget_tokens=2000000",
    "training.checkpoint_every_steps=20",
    "evaluation.max_documents_per_language=200",
)


@dataclass(frozen=True)
class Strike:
    """A node killed: in which stage, how long after its begin, and how many workers it had."""

    stage: str
    seconds_into_stage: float
    workers: int


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; returns the exit status: 1 unless the run has ended well and nothing is missing."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale_faults", description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1000, help="of text, before gzip")
    parser.add_argument("--after", type=float, default=8.0, help="seconds of a stage before a node is killed")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    arguments = parser.parse_args(argv)
    with_token("benchmarks.scale_faults", argv)
    with tempfile.TemporaryDirectory(prefix="xelm-faults-") as folder, redirect_stdout(sys.stderr):
        record = run(Path(folder), arguments.megabytes * 10**6, arguments.after)
    print(json.dumps(record) if arguments.format == "json" else json.dumps(record, indent=1))
    return 0 if record["as_it_should_be"] else 1


def run(folder: Path, size: int, after: float) -> JsonObject:
    """Write the text, run everything under fire. size: bytes of text; after: seconds of a stage before its strike."""
    written = write_text(folder / "mc4", size)
    settings = (*_SETTINGS, f"corpus.path={folder}/mc4", f"artifacts.root={folder}/artifacts")
    log = folder / "all.log"
    began = time.monotonic()
    with Raylets(folder, _NODES) as raylets, log.open("w") as output:
        command = [sys.executable, "-m", "jobs.all", "--preset", "demo"]
        command += [f"--set={item}" for item in (*settings, f"cluster.address={raylets.address}")]
        driver = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            strikes, seconds, peak = _under_fire(driver, log, raylets, after)
        finally:
            driver.kill()
    status, kept = driver.wait(), sharded(Store(f"{folder}/artifacts"))
    if status:
        print(log.read_text()[-3000:], file=sys.stderr)
    return {
        "benchmark": "scale_faults",
        "surroundings": measure.surroundings("ray", "torch"),
        "text_bytes": size,
        "documents_written": written,
        "documents_sharded": kept,
        "strikes": [asdict(strike) for strike in strikes],
        "not_struck": [stage for stage in STRUCK if stage not in {strike.stage for strike in strikes}],
        "stage_seconds": dict(seconds),
        "seconds": time.monotonic() - began,
        "driver_peak_bytes": peak,
        "status": status,
        "as_it_should_be": status == 0 and kept == written and len(strikes) == len(STRUCK),
    }


def write_text(folder: Path, size: int) -> int:
    """About so many bytes of text, equally many of each language; returns how many documents there are."""
    folder.mkdir()
    documents = 0
    for lang in LANGUAGES:
        pool = [line for document in read_text("", _POOL, [lang]) for line in document.text.splitlines()]
        random = generator(0, "faults", lang)
        files = max(1, round(size / len(LANGUAGES) / _FILE_BYTES))
        for number in range(files):
            name = f"c4-{lang}.tfrecord-{number:05d}-of-{files:05d}.json.gz"
            with gzip.open(folder / name, "wt", encoding="utf-8", compresslevel=1) as file:
                left = size // len(LANGUAGES) // files
                while left > 0:
                    text = "\n".join(pool[line] for line in random.integers(len(pool), size=_LINES).tolist())
                    file.write(json.dumps({"text": text, "url": "https://example.org/"}, ensure_ascii=False) + "\n")
                    left -= len(text.encode())
                    documents += 1
    return documents


def sharded(store: Store) -> int:
    """Documents in the shards of a store that has one run's; 0 where they are not finished."""
    stages = [store.stage("shards", key) for key in store.folder("store/shards").names()]
    return sum(int(str(stage.manifest().counts["documents"])) for stage in stages if stage.is_complete)


def _under_fire(
    driver: subprocess.Popen[bytes], log: Path, raylets: Raylets, after: float
) -> tuple[list[Strike], dict[str, float], int]:
    """Strike once in each stage until the driver ends; strikes, seconds by stage, peak memory of the driver."""
    strikes: list[Strike] = []
    began: dict[str, float] = {}
    peak = 0
    while driver.poll() is None:
        time.sleep(_LOOK_SECONDS)
        now = time.monotonic()
        for stage in _STAGE.findall(log.read_text()):
            began.setdefault(stage, now)
        with contextlib.suppress(OSError):
            peak = max(peak, measure.peak_bytes(driver.pid))
        stage = next(reversed(began), "")
        if stage in STRUCK and stage not in {strike.stage for strike in strikes} and now - began[stage] >= after:
            # Of the node whose worker is the newest: that one has something to lose.
            workers = list(_busy())
            strikes.append(Strike(stage, now - began[stage], len(workers)))
            raylets.kill_host_of(workers[-1] if workers else 0)
            raylets.add()
    marks = [*began.values(), time.monotonic()]
    return strikes, {stage: marks[place + 1] - at for place, (stage, at) in enumerate(began.items())}, peak


def _busy() -> Iterator[int]:
    """Processes below this one that work for Ray and are not idle, the oldest first."""
    for process in sorted(psutil.Process().children(recursive=True), key=lambda process: process.pid):
        with contextlib.suppress(psutil.Error):
            command = process.cmdline()
            if is_worker(command) and "IDLE" not in command[0]:
                yield process.pid


if __name__ == "__main__":
    sys.exit(main())
