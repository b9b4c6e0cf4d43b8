"""Killing things while k = 4 experts train on three raylets: does everything finish, with the same bits, and how soon.

``python -m benchmarks.chaos --kills N --seed S --format json``. Kinds: worker, raylet, driver, torn (a checkpoint cut
short, then its worker killed), drain (a spot notice), disk (full for a while) and storage (away for ten seconds); the
last two need root, for a tmpfs of limited size and a mount over it, and are left out without it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from benchmarks import chaos_parts as parts
from benchmarks.chaos_parts import Driver, Run, Victim
from benchmarks.raylets import Raylets, with_token

KINDS = ("worker", "raylet", "driver", "torn", "drain", "disk", "storage")
_NEEDS_ROOT = ("disk", "storage")
_LONGEST_SECONDS_TO_NEXT_STEP = 180.0


@dataclass(frozen=True)
class Kill:
    """One kill and what it cost. ``seconds_to_next_step``: until the model, or any for a driver, logged a new step."""

    kind: str
    model: str
    seconds_to_next_step: float | None
    steps_redone: int


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; returns the exit status: 1 unless every expert finished with the undisturbed weights."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default=",".join(KINDS), help="comma-separated")
    parser.add_argument("--tokens-per-kill", type=int, default=1_500_000, help="budget, so that kills find work")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    arguments = parser.parse_args(argv)
    with_token("benchmarks.chaos", argv)
    kinds = [kind for kind in arguments.kinds.split(",") if os.geteuid() == 0 or kind not in _NEEDS_ROOT]
    with tempfile.TemporaryDirectory(prefix="xelm-chaos-") as folder:
        budget = arguments.tokens_per_kill * (arguments.kills + 1)
        record = run_chaos(arguments.kills, arguments.seed, kinds, Path(folder), budget)
    print(json.dumps(record) if arguments.format == "json" else json.dumps(record, indent=1))
    return 0 if record["weights_equal"] and record["experts_finished"] == record["experts"] else 1


def run_chaos(kills: int, seed: int, kinds: Sequence[str], folder: Path, budget_tokens: int) -> dict[str, object]:
    """Train undisturbed and under fire, compare."""
    chance = random.Random(seed)
    bag = [kinds[number % len(kinds)] for number in range(kills)]
    chance.shuffle(bag)
    budget = f"training.budget_tokens={budget_tokens}"
    quiet, loud = Run(folder / "quiet", budget), Run(folder / "loud", budget)
    quiet.prepare()
    quiet.train()
    done: list[Kill] = []
    with parts.limited_disk(loud.root, any(kind in _NEEDS_ROOT for kind in bag)), Raylets(folder, 3) as raylets:
        loud.copy_inputs(quiet)
        driver = Driver(loud, raylets.address)
        try:
            for kind in bag:
                if not _wait_for_new_steps(loud, driver, chance.uniform(1.0, 4.0)):
                    break
                done.append(_strike(kind, chance, loud, driver, raylets))
            finished = driver.finish()
        finally:
            driver.end()
        models = loud.models()
    medians = {
        kind: median(k.seconds_to_next_step for k in done if k.kind == kind and k.seconds_to_next_step is not None)
        for kind in {k.kind for k in done if k.seconds_to_next_step is not None}
    }
    return {
        "experts": parts.EXPERTS,
        "experts_finished": sum(model.is_done for model in models),
        "driver_status": finished,
        "kills": len(done),
        "kills_asked": kills,
        "by_kind": dict(Counter(k.kind for k in done)),
        "weights_equal": loud.weights() == quiet.weights(),
        "steps_written_twice": sum(model.steps_twice for model in models),
        "steps_redone": sum(k.steps_redone for k in done),
        "median_seconds_to_next_step": medians,
        "each": [asdict(kill) for kill in done],
    }


def _wait_for_new_steps(run: Run, driver: Driver, seconds: float) -> bool:
    """Let the fleet work for a while, and until something has been saved; False once it is all over."""
    deadline = time.monotonic() + seconds
    while driver.is_running and (time.monotonic() < deadline or not run.running()):
        time.sleep(0.05)
    return driver.is_running


def _strike(kind: str, chance: random.Random, run: Run, driver: Driver, raylets: Raylets) -> Kill:
    victim = chance.choice(run.running())
    before, struck = victim.last_step, time.time()
    match kind:
        case "worker":
            victim.kill_worker()
        case "torn":
            victim.tear_newest_checkpoint()
            victim.kill_worker()
        case "raylet":
            raylets.kill_one(chance)
            raylets.add()
        case "drain":
            raylets.drain_one(chance, 30.0)
            raylets.add()
        case "driver":
            driver.kill()
            driver.start()
        case "disk":
            parts.fill_disk(run.root, 5.0)
        case "storage":
            parts.storage_away(run.root, 10.0)
    watched: Sequence[Victim] = [victim] if kind in ("worker", "torn") else run.every()
    seconds, redone = _recovered(watched, struck, before if kind in ("worker", "torn") else None, driver)
    return Kill(kind, victim.name, seconds, redone)


def _recovered(
    watched: Sequence[Victim], struck: float, before: int | None, driver: Driver
) -> tuple[float | None, int]:
    """Seconds until a watched model logged a step after the strike, and the steps it had to do again."""
    deadline = time.monotonic() + _LONGEST_SECONDS_TO_NEXT_STEP
    attempts = {victim.name: victim.attempt for victim in watched}
    while time.monotonic() < deadline:
        for victim in watched:
            new_attempt = before is None or victim.attempt != attempts[victim.name]
            row = victim.last_row
            if new_attempt and row is not None and row["time"] > struck + 0.5:
                first = victim.first_step_after(struck)
                return row["time"] - struck, 0 if before is None else max(0, before - first + 1)
        if not driver.is_running:
            break
        time.sleep(0.05)
    return None, 0


if __name__ == "__main__":
    sys.exit(main())
