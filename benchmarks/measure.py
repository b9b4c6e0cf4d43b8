"""How the benchmarks measure: each side in a process of its own, one thread, in turns, by CPU seconds and peak memory.

CPU seconds (user and system) and not the clock, so that other work on the machine weighs little; turns (ours, theirs,
ours, ...), so that what remains of it weighs on both. A ratio is the median over the turns with a bootstrap interval.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from app.core.records import JsonObject
from app.core.seeding import generator
from app.reporting.tables import markdown_table

ONE_THREAD = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"), "1"),
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
}
_RESAMPLES = 2000
_GEMM_SIZE = 1024
_COPY_BYTES = 1 << 28


@dataclass
class Usage:
    """What a measured section took; the fields are there when it has ended."""

    cpu_seconds: float = 0.0
    peak_bytes: int = 0


@contextmanager
def measured() -> Iterator[Usage]:
    """CPU seconds of all threads of this process within the block, and its peak memory since it started."""
    usage = Usage()
    before = resource.getrusage(resource.RUSAGE_SELF)
    yield usage
    after = resource.getrusage(resource.RUSAGE_SELF)
    usage.cpu_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    usage.peak_bytes = peak_bytes()


def resident_bytes() -> int:
    """Memory of this process now."""
    return _status_bytes("VmRSS")


def peak_bytes(pid: int | None = None) -> int:
    """The most memory that a process has held since it started, this one by default; raises OSError if it is gone."""
    return _status_bytes("VmHWM", pid)


def gemm_flops_per_cpu_second() -> float:
    """Best of a few float32 matrix products: what this process could do at most, FLOPs per CPU second."""
    a = torch.ones(_GEMM_SIZE, _GEMM_SIZE)
    return max(2 * _GEMM_SIZE**3 / _cpu_seconds_of(lambda: a @ a) for _ in range(8))


def copied_bytes_per_cpu_second() -> float:
    """Best of a few copies in memory, bytes read per CPU second."""
    source = np.ones(_COPY_BYTES, dtype=np.uint8)
    target = np.empty_like(source)
    return max(_COPY_BYTES / _cpu_seconds_of(lambda: np.copyto(target, source)) for _ in range(4))


def run_side(function: str, arguments: JsonObject) -> JsonObject:
    """Call ``package.module:name`` with the arguments in a new process of one thread; its result.

    Raises RuntimeError with the end of its messages if it fails.
    """
    command = [sys.executable, "-m", "benchmarks.measure", function, json.dumps(arguments)]
    done = subprocess.run(command, env=os.environ | ONE_THREAD, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{function} failed:\n{done.stderr[-4000:]}")
    result: JsonObject = json.loads(done.stdout.splitlines()[-1])
    return result


def in_turns(sides: Sequence[str], arguments: JsonObject, turns: int) -> dict[str, list[JsonObject]]:
    """Each side once per turn, one after the other; results by side, in order. Says on stderr how far it is."""
    results: dict[str, list[JsonObject]] = {side: [] for side in sides}
    for turn in range(turns):
        for side in sides:
            results[side].append(run_side(side, arguments))
            print(f"{side}: turn {turn + 1} of {turns}", file=sys.stderr, flush=True)
    return results


def ratio(ours: Sequence[JsonObject], theirs: Sequence[JsonObject], field: str) -> JsonObject:
    """Ours over theirs of one field, turn by turn: median and its 95 % bootstrap interval."""
    ratios = np.array([number(a, field) / number(b, field) for a, b in zip(ours, theirs, strict=True)])
    drawn = generator(0, "turns", field).integers(len(ratios), size=(_RESAMPLES, len(ratios)))
    low, high = np.percentile(np.median(ratios[drawn], axis=1), [2.5, 97.5])
    return {"ratio": float(np.median(ratios)), "low": float(low), "high": float(high)}


def against(target: float, found: JsonObject, at_least: bool) -> JsonObject:
    """A ratio with its target and whether its median meets it."""
    median = number(found, "ratio")
    met = median >= target if at_least else median <= target
    return {**found, "target": f"{'>=' if at_least else '<='} {target}", "met": bool(met)}


def medians(results: Sequence[JsonObject]) -> JsonObject:
    """The median of every number over the turns; other fields from the first turn."""
    first = results[0]
    return {
        name: float(np.median([number(result, name) for result in results])) if _is_number(value) else value
        for name, value in first.items()
    }


def number(record: JsonObject, field: str) -> float:
    """A field that is a number."""
    value = record[field]
    assert isinstance(value, int | float)
    return float(value)


def record(result: JsonObject, field: str) -> JsonObject:
    """A field that is a record."""
    value = result[field]
    assert isinstance(value, dict)
    return value


def surroundings(*packages: str) -> JsonObject:
    """Versions and machine, as far as they bear on speed."""
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "machine": platform.machine(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
    }


def device_surroundings(device: str, *packages: str) -> JsonObject:
    """Versions and the device's name; device: ``cuda`` or ``cpu``."""
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else platform.machine(),
        "cuda": str(torch.version.cuda),
        **{name: version(name) for name in packages},
    }


def parser(module: str, description: str | None) -> argparse.ArgumentParser:
    """The command line that all benchmarks share."""
    made = argparse.ArgumentParser(prog=f"python -m benchmarks.{module}", description=description)
    made.add_argument("--corpus", default="", help="folder in mC4's layout; else the embedded almanac is the text")
    made.add_argument("--small", action="store_true", help="a smoke test: small sizes, few turns")
    made.add_argument("--turns", type=int, default=0, help="times each side runs; 0: 5, or 2 with --small")
    made.add_argument("--format", choices=("text", "json"), default="text")
    return made


def show(record: JsonObject, output: str) -> None:
    """Print the record as JSON, or its ratios as a Markdown table."""
    if output == "json":
        print(json.dumps(record, indent=1, ensure_ascii=False))
        return
    rows = [
        [name, f"{number(cell, 'ratio'):.3f} [{number(cell, 'low'):.3f}, {number(cell, 'high'):.3f}]", *_verdict(cell)]
        for name, cell in _ratios(record)
    ]
    print(markdown_table(["ratio", "median and interval", "target", "met"], rows))


def _verdict(cell: JsonObject) -> list[str]:
    return [str(cell.get("target", "")), {True: "yes", False: "no"}.get(bool(cell["met"]), "") if "met" in cell else ""]


def _ratios(record: JsonObject, place: str = "") -> Iterator[tuple[str, JsonObject]]:
    for name, value in record.items():
        if isinstance(value, dict) and "ratio" in value:
            yield f"{place}{name}", value
        elif isinstance(value, dict):
            yield from _ratios(value, f"{place}{name} / ")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cpu_seconds_of(work: Callable[[], object]) -> float:
    with measured() as usage:
        work()
    return max(usage.cpu_seconds, 1e-9)


def _status_bytes(field: str, pid: int | None = None) -> int:
    """VmRSS or VmHWM of this very program; ru_maxrss would start from the parent's. 0 for a process that has ended."""
    lines = Path("/proc", str(pid or "self"), "status").read_text().splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":")), 0)


def _main(function: str, arguments: str) -> None:
    torch.set_num_threads(1)
    module, _, name = function.partition(":")
    result = getattr(importlib.import_module(module), name)(**json.loads(arguments))
    print(json.dumps(result))


if __name__ == "__main__":
    _main(*sys.argv[1:])
