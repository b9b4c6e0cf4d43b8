"""What grows with the corpus: memory and work of every stage, and training from a remote store.

``python -m benchmarks.scale [--small] [--documents N,N,...] [--format json]``. Every stage over more and more small
generated documents: peak memory of the driver and of the largest worker, and CPU seconds of each stage, less those of
1,000 documents, fitted against documents. Then what the driver does alone for up to 64 million documents whose parts
are made up. Then the same model from local files and from a remote store at ``--latency`` and ``--rate``, with a cache
of a quarter of its parts; needed are the parts of its languages, once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence

from app.core.records import JsonObject
from app.core.units import format_bytes
from app.reporting.tables import markdown_table
from benchmarks import measure
from benchmarks.scale_documents import CUTS, by_documents
from benchmarks.scale_fit import WORKER_BYTES, exponent, is_bounded, is_linear
from benchmarks.scale_training import Sizes, compare

# As many parts as let a quarter of them hold two windows of each of both languages, and some more.
_SMALL, _FULL = Sizes(parts=288, documents=2), Sizes(parts=288, documents=16)
_BASE = 1_000
_MADE_UP = (1_000_000, 4_000_000, 16_000_000, 64_000_000)
_SMALL_DOCUMENTS, _FULL_DOCUMENTS = (4_000, 16_000), (250_000, 1_000_000, 4_000_000)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit status."""
    parser = measure.parser("scale", __doc__)
    parser.add_argument("--documents", type=_sizes, default=(), help="numbers of documents, beside 1,000")
    parser.add_argument("--latency", type=float, default=0.05, help="seconds before each answer of the remote store")
    parser.add_argument("--rate", type=float, default=100e6, help="bytes per second of each of its answers")
    arguments = parser.parse_args(argv)
    documents = arguments.documents or (_SMALL_DOCUMENTS if arguments.small else _FULL_DOCUMENTS)
    stages = by_documents((_BASE, *documents), CUTS[:1] if arguments.small else CUTS)
    grown = summary(stages, {size: made_up(size) for size in _MADE_UP})
    sizes = _SMALL if arguments.small else _FULL
    remote = compare(sizes, arguments.latency, arguments.rate, arguments.turns or (1 if arguments.small else 3))
    record: JsonObject = {
        "benchmark": "scale",
        "surroundings": measure.surroundings("ray", "torch", "numpy", "fsspec"),
        **grown,
        "fetched_over_needed": remote.pop("fetched_over_needed"),
        "remote_over_local_speed": remote.pop("remote_over_local_speed"),
        "remote": remote,
    }
    measure.show(record, arguments.format)
    if arguments.format == "text":
        print(_as_text(grown))
    return 0


def summary(found: Mapping[int, JsonObject], alone: Mapping[int, JsonObject]) -> JsonObject:
    """The record of the stages. found: by number of documents, the smallest of which is the base of the fits; alone:
    the driver's own work by number of made-up documents.

    ``driver_peak_bytes`` by documents, ``worker_peak_bytes`` of the largest worker of all, ``exponent`` by stage (null
    where there is nothing to fit), ``met`` with the verdict on each, and what was measured under ``documents`` and
    ``driver_alone``.
    """
    base, *larger = sorted(found)
    peaks = {size: int(measure.number(found[size], "driver_peak_bytes")) for size in larger}
    peaks_alone = {size: int(measure.number(side, "driver_peak_bytes")) for size, side in alone.items()}
    worker = max(int(measure.number(side, "worker_peak_bytes")) for side in found.values())
    spent = {size: measure.record(side, "cpu_seconds") for size, side in found.items()}
    seconds = {
        stage: {size: measure.number(spent[size], stage) for size in larger if stage in spent[size]}
        for stage in spent[base]
    }
    fitted = {stage: (by_size, measure.number(spent[base], stage)) for stage, by_size in seconds.items() if by_size}
    linear: JsonObject = {stage: is_linear(*measured) for stage, measured in fitted.items()}
    return {
        "driver_peak_bytes": {str(size): peak for size, peak in peaks.items()},
        "worker_peak_bytes": worker,
        "exponent": {stage: exponent(*measured) for stage, measured in fitted.items()},
        "met": {
            "driver_peak_bytes": is_bounded(peaks),
            "driver_alone": is_bounded(peaks_alone),
            "worker_peak_bytes": worker <= WORKER_BYTES,
            "exponent": linear,
        },
        "documents": {str(size): side for size, side in found.items()},
        "driver_alone": {str(size): side for size, side in alone.items()},
    }


def made_up(documents: int) -> JsonObject:
    """The driver's own work for so many documents, in a process of its own."""
    return measure.run_side("benchmarks.scale_driver:alone", {"documents": documents})


def _as_text(grown: JsonObject) -> str:
    peaks, fitted, met = (measure.record(grown, name) for name in ("driver_peak_bytes", "exponent", "met"))
    worker = format_bytes(measure.number(grown, "worker_peak_bytes"))
    rows = [[f"driver, {size} documents", format_bytes(measure.number(peaks, size)), ""] for size in peaks]
    rows += [
        ["driver over all stages", "by documents", _yes(met["driver_peak_bytes"])],
        ["driver alone, parts made up", "by documents", _yes(met["driver_alone"])],
        ["largest worker", worker, _yes(met["worker_peak_bytes"])],
    ]
    linear = measure.record(met, "exponent")
    rows += [
        [f"exponent of {stage}", "hardly grows" if value is None else f"{value:.3f}", _yes(linear[stage])]
        for stage, value in fitted.items()
    ]
    return markdown_table(["what", "measured", "met"], rows)


def _yes(met: object) -> str:
    return "yes" if met else "no"


def _sizes(typed: str) -> tuple[int, ...]:
    try:
        sizes = tuple(sorted({int(word) for word in typed.split(",")}))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{typed!r}: give whole numbers, such as 4000,16000") from None
    if sizes[0] <= _BASE:
        raise argparse.ArgumentTypeError(f"{sizes[0]}: give numbers above {_BASE}, which is run first")
    return sizes


if __name__ == "__main__":
    sys.exit(main())
