"""Training from a remote store: what it fetches, and how fast it is beside training from local files.

``python -m benchmarks.scale [--small] [--format json]``. The same model from local files and from a remote store at
``--latency`` and ``--rate``, with a cache of a quarter of its parts; needed are the parts of its languages, once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from app.core.records import JsonObject
from benchmarks import measure
from benchmarks.scale_training import Sizes, compare

_SMALL, _FULL = Sizes(parts=288, documents=2), Sizes(parts=512, documents=8)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit status."""
    parser = measure.parser("scale", __doc__)
    parser.add_argument("--latency", type=float, default=0.05, help="seconds before each answer of the remote store")
    parser.add_argument("--rate", type=float, default=100e6, help="bytes per second of each of its answers")
    arguments = parser.parse_args(argv)
    sizes = _SMALL if arguments.small else _FULL
    remote = compare(sizes, arguments.latency, arguments.rate, arguments.turns or (1 if arguments.small else 3))
    record: JsonObject = {
        "benchmark": "scale",
        "surroundings": measure.surroundings("ray", "torch", "numpy", "fsspec"),
        "fetched_over_needed": remote.pop("fetched_over_needed"),
        "remote_over_local_speed": remote.pop("remote_over_local_speed"),
        "remote": remote,
    }
    measure.show(record, arguments.format)
    return 0


if __name__ == "__main__":
    sys.exit(main())
