"""Every way of grouping languages on real text, at equal budget and exposure: which of them helps.

``make experiment-groupings CORPUS=<folder in mC4's layout>``. The cuts of ``experiment-seeds`` with its random seeds,
taken from the store where they are made, and each other grouping with the first of them. Forecasts its time first,
writes a row as each run ends, prints the tables in Markdown. It can be interrupted and run again.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Mapping, Sequence

from app.allocation.strategies import STRATEGIES
from app.artifacts.layout import SUMMARY
from app.artifacts.store import Store
from app.config.schema import Config
from app.core.errors import ConfigError, XelmError
from app.core.records import JsonObject
from app.core.suggest import unknown_value
from app.core.units import format_seconds
from app.fleet.ray_session import ray_session
from benchmarks.experiment import Cut, experiment_config, forecast_seconds, run_cuts
from benchmarks.experiment_seeds import CUTS as SEVERAL
from benchmarks.experiment_seeds import SEEDS, language_table, system_table

log = logging.getLogger(__name__)

K = 8
ONCE = tuple(Cut(name, K) for name in STRATEGIES if name != "one_per_language" and Cut(name, K) not in SEVERAL)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiment; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.experiment_groupings", description=__doc__)
    parser.add_argument("--corpus", required=True, help="folder in mC4's layout")
    parser.add_argument("--root", default="artifacts", help="artifacts.root")
    parser.add_argument("--seeds", default=",".join(map(str, SEEDS)), help="random seeds, comma-separated")
    parser.add_argument("--strategies", default="", help="only these, comma-separated")
    parser.add_argument("--set", action="append", default=[], help="further overrides of the preset `experiment`")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    overrides = [f"corpus.path={arguments.corpus}", f"artifacts.root={arguments.root}", *arguments.set]
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    try:
        planned = plan(seeds, [name for name in arguments.strategies.split(",") if name], overrides)
        print(run_groupings(planned, Store(arguments.root)))
    except XelmError as error:
        print(f"experiment_groupings: {error}", file=sys.stderr)
        return 1
    return 0


def plan(seeds: Sequence[int], only: Sequence[str], overrides: Sequence[str]) -> dict[int, dict[Cut, Config]]:
    """Random seed -> the runs to make with it: all of them with the first, those of ``experiment-seeds`` with each.

    only: strategies; empty means all. Raises ConfigError for one that is none of them.
    """
    known = {cut.strategy: cut for cut in (*SEVERAL, *ONCE)}
    for name in only:
        if name not in known:
            raise ConfigError(unknown_value("strategy", name, known))
    wanted = set(only or known)
    cuts = {seed: [*SEVERAL, *(ONCE if seed == seeds[0] else ())] for seed in seeds}
    return {
        seed: {cut: experiment_config(cut, seed, overrides) for cut in found if cut.strategy in wanted}
        for seed, found in cuts.items()
    }


def run_groupings(planned: Mapping[int, Mapping[Cut, Config]], store: Store) -> str:
    """Run what is not done yet; the tables as Markdown."""
    log.info("forecast: %s", format_seconds(forecast(planned, store)))
    started = time.monotonic()
    summaries: dict[Cut, list[JsonObject]] = {}
    with ray_session(next(iter(next(iter(planned.values())).values())).cluster):
        for configs in planned.values():
            for cut, summary in run_cuts(configs, store).items():
                summaries.setdefault(cut, []).append(summary)
    log.info("experiment: %s", format_seconds(time.monotonic() - started))
    return f"{system_table(summaries)}\n\n{language_table(summaries)}"


def forecast(planned: Mapping[int, Mapping[Cut, Config]], store: Store) -> float:
    """Seconds for the runs that are not done; seed and dense count where no run of that random seed is done."""
    seconds = 0.0
    for configs in planned.values():
        waiting = [config for config in configs.values() if not store.run(config.run.name).exists(SUMMARY)]
        if waiting:
            seconds += forecast_seconds(waiting, experts_only=len(waiting) < len(configs))
    return seconds


if __name__ == "__main__":
    sys.exit(main())
