"""The same model trained from local files and from a remote store that counts, through a cache of a quarter."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.artifacts.layout import MANIFEST, TOKEN_META
from app.artifacts.store import Store
from app.config.load import load_config
from app.core.records import JsonObject
from app.core.seeding import generator
from app.lineage.settings import training_spec
from app.models.architecture import ModelShape
from app.tokens.counts import PartCount, counts_to_json
from app.tokens.index import index_file
from app.training.model_task import ModelTask, run_model_task
from benchmarks import measure, remote_store

SLOWER, MORE_BYTES = 0.95, 1.15
HELD, OTHER = ("de", "fr"), "en"
_VOCABULARY, _LENGTH, _DOCUMENT = 2048, 128, 300
_SHAPE = ModelShape("xglm", _VOCABULARY, 64, 2, 2, 128, _LENGTH)


@dataclass(frozen=True)
class Sizes:
    """parts: of each language; a window is 32, and a quarter must hold two. documents: of each part."""

    parts: int
    documents: int


def compare(sizes: Sizes, latency: float, rate: float, turns: int) -> JsonObject:
    """Train in turns from both; ratios with their targets, and whether the weights were the same."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "store"
        needed = write_parts(Store(str(root)), sizes)
        limit = needed // 4
        local: list[JsonObject] = []
        remote: list[JsonObject] = []
        budget = sum(sizes.parts * sizes.documents * _DOCUMENT for _ in HELD)
        arguments: JsonObject = {"budget": budget, "cache_bytes": limit}
        for turn in range(turns):
            own = {**arguments, "root": str(root), "key": f"local-{turn}", "cache": ""}
            local.append(measure.run_side("benchmarks.scale_training:trained", own))
            cache = Path(folder) / f"cache-{turn}"
            # Watched from here: looking at the cache would take its time from the training that is timed.
            with remote_store.served(root, latency, rate) as (server, uri), _watched(cache) as peaks:
                far = {**arguments, "root": uri, "key": f"remote-{turn}", "cache": str(cache)}
                remote.append(measure.run_side("benchmarks.scale_training:trained", far))
                remote[-1] |= {
                    "fetched": _of_parts(remote_store.fetched(server), str(root)),
                    "cache_peak": max(peaks),
                }
    fetched = [measure.number(side, "fetched") / needed for side in remote]
    over: JsonObject = {"ratio": max(fetched), "low": min(fetched), "high": max(fetched)}
    return {
        "latency_seconds": latency,
        "bytes_per_second": rate,
        "needed_bytes": needed,
        "cache_bytes": limit,
        "cache_peak_bytes": max(int(measure.number(side, "cache_peak")) for side in remote),
        "same_weights": len({str(side["weights"]) for side in (*local, *remote)}) == 1,
        "fetched_over_needed": measure.against(MORE_BYTES, over, at_least=False),
        "remote_over_local_speed": measure.against(SLOWER, measure.ratio(local, remote, "seconds"), at_least=True),
        "local": measure.medians(local),
        "remote": measure.medians(remote),
    }


def write_parts(store: Store, sizes: Sizes) -> int:
    """Random tokens of the languages that are held and of one that is not; the bytes of the parts of the former."""
    target, made, needed = store.stage("tokens", "t"), [], 0
    for lang in (*HELD, OTHER):
        for number in range(sizes.parts):
            name, random = f"part-{number:05d}-000", generator(0, lang, number)
            lengths = np.full(sizes.documents, _DOCUMENT, dtype=np.int64)
            ids = random.integers(_VOCABULARY, size=int(lengths.sum())).astype("<u2").tobytes()
            index = index_file([f"{i:016x}" for i in range(sizes.documents)], lengths, (3 * lengths).tolist())
            target.write(f"{lang}/train/{name}.bin", ids)
            target.write(f"{lang}/train/{name}.npy", index)
            made.append((lang, "train", PartCount(name, sizes.documents, int(lengths.sum()), 3 * int(lengths.sum()))))
            needed += (len(ids) + len(index)) * (lang in HELD)
    meta: JsonObject = {"dtype": "uint16", "vocab_size": _VOCABULARY, "start_id": 0, "end_id": 0, "pad_id": 1}
    target.write_json(TOKEN_META, meta)
    target.write_json(MANIFEST, {"counts": counts_to_json((*HELD, OTHER), made)})
    return needed


def trained(root: str, cache: str, cache_bytes: int, budget: int, key: str) -> JsonObject:
    """One side: seconds of the loop, and weights."""
    remote_store.register()
    config = load_config("demo", overrides=["training.sequence_length=128", "training.checkpoint_every_steps=100000"])
    task = ModelTask(
        name=key,
        store=Store(root, cache, cache_bytes),
        key=key,
        fields={},
        parents={},
        tokens="t",
        parent=None,
        shape=_SHAPE,
        weights=dict.fromkeys(HELD, 1 / len(HELD)),
        spec=training_spec(config, "same", budget, 1e-3),
        keep_checkpoints=1,
        trackers=(),
    )
    counts = run_model_task(task)
    return {"seconds": counts["training_seconds"], "weights": counts["weights_sha256"]}


def _of_parts(sent: dict[str, int], root: str) -> int:
    return sum(size for name, size in sent.items() if name.startswith(root) and name.endswith((".bin", ".npy")))


@contextmanager
def _watched(cache: Path) -> Iterator[list[int]]:
    """Bytes of whole and half files in the cache, looked at again and again."""
    peaks, ended = [0], threading.Event()

    def look() -> None:
        while not ended.wait(0.25):
            total = 0
            for path in cache.rglob("part-*"):
                with suppress(FileNotFoundError):
                    total += path.stat().st_size if path.suffix != ".reserved" else 0
            peaks.append(total)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield peaks
    finally:
        ended.set()
        thread.join()
