"""Run beside Ray on each spot node: when the cloud gives notice, drain the node so that its experts save and move."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Sequence

from app.core.errors import XelmError
from app.training.notices import CLOUDS, Notice
from jobs.entry import version


def main(argv: Sequence[str] | None = None) -> int:
    """Watch until there is a notice; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m jobs.watch_spot", description=__doc__)
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("--cloud", help=f"one of {', '.join(CLOUDS)}")
    asked.add_argument("--leaving-in", type=float, metavar="SECONDS", help="poll nothing: this node goes, drain it now")
    parser.add_argument("--every", type=float, default=2.0, metavar="SECONDS", help="between two polls (default: 2)")
    parser.add_argument("--metadata", default=None, metavar="URL", help="metadata service (default: the cloud's)")
    parser.add_argument("--address", default="auto", help="Ray cluster (default: this node's)")
    parser.add_argument("--version", action="version", version=version())
    arguments = parser.parse_args(argv)
    from app.fleet.drain import drain_this_node, watch_node

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    try:
        if arguments.leaving_in is not None:
            # Not a monotonic clock: other machines read the deadline.
            deadline = time.time() + arguments.leaving_in
            drain_this_node(arguments.address, Notice("given", deadline, "the node is stopped"))
            return 0
        watch_node(arguments.cloud, arguments.every, arguments.metadata, arguments.address)
    except XelmError as error:
        print(f"watch_spot: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
