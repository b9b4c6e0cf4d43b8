"""All stages over generated small documents, each number of documents in a driver process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from app.artifacts.store import Store
from app.config.load import load_config
from app.core.records import JsonObject
from app.core.seeding import generator
from app.fleet.ray_session import ray_session
from app.lineage.lineage import Lineage
from app.lineage.runs import record
from app.pipelines.allocate import make_allocation
from app.pipelines.evaluate import make_evaluation
from app.pipelines.seed import make_seed
from app.pipelines.shard import make_shards
from app.pipelines.tokenize import make_tokens
from app.pipelines.train import train_all
from benchmarks import measure

LANGUAGES = ("de", "en", "fr", "sw")
CUTS = ("tfidf", "typological")
_FILE_DOCUMENTS = 10_000
_WORDS, _VOCABULARY, _LETTERS = 20, 400, 6
_LOOK_SECONDS = 0.25
_STAGES = {
    "shard": make_shards,
    "seed": make_seed,
    "tokenize": make_tokens,
    "allocate": make_allocation,
    "train": train_all,
    "evaluate": make_evaluation,
}
_SETTINGS = (
    "run.name=scale",
    "corpus.source=files",
    f"corpus.languages={','.join(LANGUAGES)}",
    "allocation.k=2",
    "allocation.sample_documents=1000",
    "training.budget_tokens=16384",
    "training.tokens_per_step=2048",
    "training.checkpoint_every_steps=1000",
    "evaluation.max_documents_per_language=40",
)


def by_documents(sizes: Sequence[int], cuts: Sequence[str] = CUTS) -> dict[int, JsonObject]:
    """What the stages took, by number of documents: see ``stages``; near-duplicates stay out at the largest size."""
    found: dict[int, JsonObject] = {}
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            write_documents(Path(folder, "text"), size)
            wanted: JsonObject = {"folder": folder, "near_duplicates": size < max(sizes), "cuts": list(cuts)}
            found[size] = measure.run_side("benchmarks.scale_documents:stages", wanted)
        print(f"stages over {size} documents: done", file=sys.stderr, flush=True)
    return found


def write_documents(folder: Path, documents: int) -> None:
    """Documents of 20 words drawn from 400 of their language, about 100 bytes each, in files of at most 10,000.

    Languages share no letters, so that a TF-IDF cut finds them.
    """
    for number, lang in enumerate(LANGUAGES):
        held = documents // len(LANGUAGES) + (number < documents % len(LANGUAGES))
        (folder / lang).mkdir(parents=True)
        random = generator(0, "words", lang)
        first = ord("a") + _LETTERS * number
        letters = random.integers(first, first + _LETTERS, size=(_VOCABULARY, 4), dtype="u1")
        words = [bytes(word).decode() for word in letters]
        for start in range(0, held, _FILE_DOCUMENTS):
            drawn = random.integers(_VOCABULARY, size=(min(_FILE_DOCUMENTS, held - start), _WORDS))
            lines = [json.dumps({"text": " ".join(words[word] for word in line)}) for line in drawn.tolist()]
            name = f"part-{start // _FILE_DOCUMENTS:05d}.jsonl"
            (folder / lang / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def stages(folder: str, near_duplicates: bool, cuts: Sequence[str]) -> JsonObject:
    """Every stage up to the evaluation for each of the cuts, in this process and on a Ray of its own.

    Returns peaks of this process and of the largest Ray worker in bytes, CPU seconds of both together and seconds on
    the clock by stage. near_duplicates: shard a second time after the rest, with them taken out;
    the start of Ray's first workers is then in the same stage at all sizes.
    """
    cpu, clock = defaultdict[str, float](float), defaultdict[str, float](float)
    with watched() as watch, ray_session(load_config("demo").cluster):
        planned = [(stage, cut, "off") for cut in cuts for stage in _STAGES]
        planned += [("shard_near_duplicates", cuts[0], "minhash")] if near_duplicates else []
        for stage, cut, duplicates in planned:
            own = [f"corpus.path={folder}/text", f"corpus.near_duplicates={duplicates}", f"allocation.strategy={cut}"]
            config = load_config("demo", overrides=[*_SETTINGS, *own, f"artifacts.root={folder}/store"])
            lineage = Lineage(config, Store(config.artifacts.root))
            began, before = time.monotonic(), watch.cpu_seconds()
            record(lineage, _STAGES[stage.partition("_")[0]](lineage))
            clock[stage] += time.monotonic() - began
            cpu[stage] += watch.cpu_seconds() - before
    with measure.measured() as usage:
        pass
    return {
        "driver_peak_bytes": usage.peak_bytes,
        "worker_peak_bytes": watch.worker_peak_bytes,
        "cpu_seconds": dict(cpu),
        "seconds": dict(clock),
    }


class Watch:
    """Looks at this process and at Ray's workers below it. What a worker does after the last look is not seen."""

    def __init__(self) -> None:
        self.worker_peak_bytes = 0
        self._workers: dict[int, float] = {}
        self._own, self._lock = 0.0, threading.Lock()

    def look(self) -> None:
        """Look once."""
        with self._lock:
            before = time.thread_time()
            for process in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.Error, OSError):
                    if is_worker(process.cmdline()):
                        used = process.cpu_times()
                        self._workers[process.pid] = used.user + used.system
                        self.worker_peak_bytes = max(self.worker_peak_bytes, measure.peak_bytes(process.pid))
            self._own += time.thread_time() - before

    def cpu_seconds(self) -> float:
        """CPU seconds of this process and of all workers so far, without those of looking."""
        self.look()
        own = os.times()
        return own.user + own.system - self._own + sum(self._workers.values())


def is_worker(command: Sequence[str]) -> bool:
    """Whether a command line is that of a Ray worker, and not of one of Ray's agents."""
    first = command[0] if command else ""
    return (first.startswith("ray::") and "Agent" not in first) or any("default_worker.py" in word for word in command)


@contextlib.contextmanager
def watched() -> Iterator[Watch]:
    """A watch that looks again and again while this is open."""
    watch, ended = Watch(), threading.Event()

    def look() -> None:
        while not ended.wait(_LOOK_SECONDS):
            watch.look()

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        ended.set()
        thread.join()
