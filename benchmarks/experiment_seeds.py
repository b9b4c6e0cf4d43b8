"""The comparison on real text with several random seeds: what of it holds, and what was luck.

``make experiment-seeds CORPUS=<folder in mC4's layout>``. For each random seed everything is made anew: the seed model,
the cuts that draw lots, the order of the batches. Forecasts its time first, writes a row as each run ends, prints the
tables in Markdown. Everything is in the store, so it can be interrupted and run again.
"""

from __future__ import annotations

import argparse
import logging
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from app.artifacts.store import Store
from app.core.errors import XelmError
from app.core.records import JsonObject
from app.core.units import format_seconds
from app.fleet.ray_session import ray_session
from app.reporting.tables import markdown_table, per_language
from benchmarks.experiment import Cut, experiment_config, forecast_seconds, run_cuts

log = logging.getLogger(__name__)

CUTS = (Cut("typological", 8), Cut("tfidf", 8), Cut("random", 8))
SEEDS = (0, 1, 2)
_SYSTEMS = ("ensemble", "ensemble_told", "top1_language", "dense_equal_steps", "dense_double_rate")
_MEAN = "mean_log_perplexity_ratio"

Summaries = Mapping[Cut, Sequence[JsonObject]]
"""Cut -> the summary of each random seed."""


@dataclass(frozen=True)
class Spread:
    """Mean of several runs and its 95 % interval from Student's distribution; NaN with a single run."""

    mean: float
    low: float
    high: float

    @property
    def is_clear(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        if np.isnan(self.low):
            return f"{self.mean:+.1%} (one run)"
        mark = " clear" if self.is_clear else ""
        return f"{self.mean:+.1%} [{self.low:+.1%}, {self.high:+.1%}]{mark}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiment; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.experiment_seeds", description=__doc__)
    parser.add_argument("--corpus", required=True, help="folder in mC4's layout")
    parser.add_argument("--root", default="artifacts", help="artifacts.root")
    parser.add_argument("--seeds", default=",".join(map(str, SEEDS)), help="random seeds, comma-separated")
    parser.add_argument("--set", action="append", default=[], help="further overrides of the preset `experiment`")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    overrides = [f"corpus.path={arguments.corpus}", f"artifacts.root={arguments.root}", *arguments.set]
    try:
        print(run_seeds([int(seed) for seed in arguments.seeds.split(",")], overrides, Store(arguments.root)))
    except XelmError as error:
        print(f"experiment_seeds: {error}", file=sys.stderr)
        return 1
    return 0


def run_seeds(seeds: Sequence[int], overrides: Sequence[str], store: Store) -> str:
    """Run every cut with every random seed; the tables as Markdown."""
    configs = {seed: {cut: experiment_config(cut, seed, overrides) for cut in CUTS} for seed in seeds}
    first = list(configs[seeds[0]].values())
    log.info("forecast: %s", format_seconds(len(seeds) * forecast_seconds(first)))
    started = time.monotonic()
    with ray_session(first[0].cluster):
        made = [run_cuts(configs[seed], store) for seed in seeds]
    log.info("experiment: %s", format_seconds(time.monotonic() - started))
    summaries = {cut: [row[cut] for row in made] for cut in CUTS}
    return f"{system_table(summaries)}\n\n{language_table(summaries)}"


def spread(values: Sequence[float]) -> Spread:
    """Mean and interval of one figure over independent runs."""
    mean, n = float(np.mean(values)), len(values)
    if n < 2:
        return Spread(mean, float("nan"), float("nan"))
    half = float(stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n))
    return Spread(mean, mean - half, mean + half)


def as_change(logs: Spread) -> Spread:
    """A spread of log ratios as that of the changes that they stand for."""
    return Spread(math.expm1(logs.mean), math.expm1(logs.low), math.expm1(logs.high))


def system_table(summaries: Summaries) -> str:
    """Cut x system: mean change against the dense model of the same random seed, wins and clear wins of each run.

    The mean is that of log(ppl / ppl(dense)), as on a run's page; a system that no run has is left out.
    """
    rows = []
    for cut, runs in summaries.items():
        for name in _SYSTEMS:
            lines = [_mapping(_mapping(run["systems"])[name]) for run in runs if name in _mapping(run["systems"])]
            if not lines:
                continue
            change = as_change(spread([float(line[_MEAN]) for line in lines]))
            wins, clear, lost = (
                " ".join(str(line[figure]) for line in lines)
                for figure in ("wins_over_dense", "clear_wins_over_dense", "clear_losses_to_dense")
            )
            rows.append([cut.name, name, str(change), wins, clear, lost])
    header = ["cut", "system", "mean change against dense", "wins of each run", "clear wins", "clear losses"]
    return markdown_table(header, rows)


def language_table(summaries: Summaries) -> str:
    """Language x cut: the ensemble's change against the dense model of the same random seed."""
    tables = {cut: [per_language(run) for run in runs] for cut, runs in summaries.items()}
    languages = next(iter(tables.values()))[0]
    rows = [
        [lang, *(str(spread([run[lang]["ensemble"]["change_from_dense"] for run in runs])) for runs in tables.values())]
        for lang in languages
    ]
    return markdown_table(["lang", *(cut.name for cut in tables)], rows)


def _mapping(value: object) -> dict[str, float]:
    assert isinstance(value, dict)
    return value


if __name__ == "__main__":
    sys.exit(main())
