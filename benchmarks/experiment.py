"""The comparison on real text: several ways of cutting the corpus against dense, at equal budget and exposure.

``make experiment CORPUS=<folder in mC4's layout>``. Forecasts its time first, writes a row as each run ends, and
prints the language x system table in Markdown. Everything is in the store, so it can be interrupted and run again.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from app.artifacts.layout import SUMMARY
from app.artifacts.store import Store
from app.config.load import load_config
from app.config.schema import Config
from app.core.errors import XelmError
from app.core.records import IntArray, JsonObject
from app.core.units import format_seconds
from app.fleet.ray_session import ray_session
from app.lineage.settings import seed_shape, training_spec
from app.models.registry import build_model
from app.pipelines.everything import run_everything
from app.reporting.tables import change_text, headline_text, markdown_table, mean_change_text, per_language
from app.training.loop import train
from app.training.saving import NoCheckpoints

log = logging.getLogger(__name__)

RESULTS = "experiment/results.jsonl"
_SECONDS_TO_START_A_RUN = 15.0
_PROBE_STEPS = 12


@dataclass(frozen=True)
class Cut:
    """One way of cutting the corpus."""

    strategy: str
    k: int

    @property
    def name(self) -> str:
        """Column name, e.g. ``typological k=8``."""
        return f"{self.strategy} k={self.k}"


CUTS = (Cut("typological", 4), Cut("typological", 8), Cut("tfidf", 8), Cut("random", 8))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiment; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.experiment", description=__doc__)
    parser.add_argument("--corpus", required=True, help="folder in mC4's layout")
    parser.add_argument("--root", default="artifacts", help="artifacts.root")
    parser.add_argument("--seed", type=int, default=0, help="run.seed")
    parser.add_argument("--set", action="append", default=[], help="further overrides of the preset `experiment`")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    overrides = [f"corpus.path={arguments.corpus}", f"artifacts.root={arguments.root}", *arguments.set]
    try:
        configs = {cut: experiment_config(cut, arguments.seed, overrides) for cut in CUTS}
        print(run_experiment(configs, Store(arguments.root)))
    except XelmError as error:
        print(f"experiment: {error}", file=sys.stderr)
        return 1
    return 0


def run_experiment(configs: dict[Cut, Config], store: Store) -> str:
    """Run every cut and return the tables as Markdown."""
    first = next(iter(configs.values()))
    log.info("forecast: %s", format_seconds(forecast_seconds(list(configs.values()))))
    started = time.monotonic()
    with ray_session(first.cluster):
        summaries = run_cuts(configs, store)
    log.info("experiment: %s", format_seconds(time.monotonic() - started))
    return f"{perplexity_table(summaries)}\n\n{summary_table(summaries)}"


def run_cuts(configs: Mapping[Cut, Config], store: Store) -> dict[Cut, JsonObject]:
    """Run every cut, add its row to ``experiment/results.jsonl`` as it ends; the summaries. A run that was finished
    before has its row already.
    """
    folder = store.folder("")
    summaries: dict[Cut, JsonObject] = {}
    for cut, config in configs.items():
        begun, was_finished = time.monotonic(), store.run(config.run.name).exists(SUMMARY)
        run_everything(config, store)
        summary = summaries[cut] = store.run(config.run.name).read_json(SUMMARY)
        log.info("%s", headline_text(summary))
        row = {
            "cut": cut.name,
            "random_seed": config.run.seed,
            "seconds": time.monotonic() - begun,
            **_figures(summary),
        }
        before = folder.read(RESULTS) if folder.exists(RESULTS) else b""
        if not (was_finished and _has_row(before, row)):
            folder.write(RESULTS, before + json.dumps(row).encode() + b"\n")
    return summaries


def _has_row(lines: bytes, row: JsonObject) -> bool:
    """Whether there is a row of this run with these figures."""
    known = (json.loads(line) for line in lines.splitlines())
    return any({**found, "seconds": row["seconds"]} == row for found in known)


def experiment_config(cut: Cut, random_seed: int, overrides: Sequence[str]) -> Config:
    """The preset `experiment` with this cut; a run of its own for each random seed."""
    name = f"experiment-{cut.strategy}-k{cut.k}" + (f"-seed{random_seed}" if random_seed else "")
    chosen = [f"allocation.strategy={cut.strategy}", f"allocation.k={cut.k}", f"run.name={name}"]
    return load_config("experiment", overrides=[*overrides, *chosen, f"run.seed={random_seed}"])


def forecast_seconds(configs: Sequence[Config], experts_only: bool = False) -> float:
    """Training time of all runs from a dozen measured steps, start-up included; evaluation adds about a fifth.

    experts_only: seed and dense models are there already.
    """
    config = configs[0]
    model = build_model(seed_shape(config, config.seed.vocabulary_size), 0)
    budget = config.training.tokens_per_step * _PROBE_STEPS
    torch.set_num_threads(1)
    result = train(training_spec(config, "probe", budget, 1e-4), model, _RandomRows(config), NoCheckpoints())
    speed = result.tokens_seen / result.seconds
    slots = os.cpu_count() or 1
    dense = {
        (name, item.allocation.k if baseline.equal_steps else 0)
        for item in configs
        for name, baseline in item.baselines.items()
        if not experts_only
    }
    seed_tokens = 0 if experts_only else config.seed.budget_tokens
    models = len(dense) + sum(item.allocation.k for item in configs)
    tokens = config.training.budget_tokens * (len(dense) + len(configs))
    return 1.2 * (seed_tokens / speed + tokens / speed + models * _SECONDS_TO_START_A_RUN) / slots


def perplexity_table(summaries: dict[Cut, JsonObject]) -> str:
    """Language x system: seed, dense, and the ensemble of each cut with its change against dense."""
    first = next(iter(summaries.values()))
    rows = []
    for lang, cells in per_language(first).items():
        ensembles = [per_language(summary)[lang]["ensemble"] for summary in summaries.values()]
        shown = [f"{cell['perplexity']:.2f} ({change_text(cell).strip()})" for cell in ensembles]
        rows.append([lang, f"{cells['seed']['perplexity']:.2f}", f"{cells['dense']['perplexity']:.2f}", *shown])
    return markdown_table(["lang", "seed", "dense", *(cut.name for cut in summaries)], rows)


def summary_table(summaries: dict[Cut, JsonObject]) -> str:
    """System of each cut x wins, clear wins, clear losses, mean change against dense."""
    rows = []
    for cut, summary in summaries.items():
        systems = summary["systems"]
        assert isinstance(systems, dict)
        for name in (
            "ensemble",
            "ensemble_told",
            "top1_language",
            "top1_context",
            "tfidf",
            "dense_equal_steps",
            "dense_double_rate",
        ):
            if (line := systems.get(name)) is None:
                continue
            wins = f"{line['wins_over_dense']}/{line['languages_compared']}"
            change = mean_change_text(line)
            clear = [str(line["clear_wins_over_dense"]), str(line["clear_losses_to_dense"])]
            rows.append([cut.name, name, wins, *clear, change])
    return markdown_table(["cut", "system", "wins", "clear wins", "clear losses", "mean change"], rows)


class _RandomRows:
    def __init__(self, config: Config) -> None:
        self._shape = (config.training.sequence_length, config.seed.vocabulary_size)

    def rows(self, start: int, stop: int) -> IntArray:
        return np.random.default_rng(start).integers(self._shape[1], size=(stop - start, self._shape[0] + 1))

    def languages(self, start: int, stop: int) -> list[str]:
        return [""] * (stop - start)


def _figures(summary: JsonObject) -> JsonObject:
    left_out = ("per_language", "systems", "expert_of_language")
    return {name: value for name, value in summary.items() if name not in left_out}


if __name__ == "__main__":
    sys.exit(main())
