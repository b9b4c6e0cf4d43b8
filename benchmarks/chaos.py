"""Killing things while k = 4 experts train on three raylets: does everything finish, with the same bits, and how soon.

``python -m benchmarks.chaos --kills N --seed S --format json``. Kinds: worker, raylet, driver, torn (a checkpoint cut
short, then its worker killed), drain (a spot notice), disk (full for a while) and storage (away for ten seconds); the
last two need root, for a tmpfs of limited size and a mount over it, and are left out without it. ``--like FILE``, the
JSON of another run, adds the makespan that ``app.planning.simulation`` predicts with that run's parameters.
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
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import cast

from benchmarks import chaos_parts as parts
from benchmarks.chaos_forecast import measured_parameters, simulated_makespan
from benchmarks.chaos_parts import Driver, Run, Victim
from benchmarks.raylets import Raylets, with_token
from benchmarks.stages import UNTIL_EXPERTS

KINDS = ("worker", "raylet", "driver", "torn", "drain", "disk", "storage")
TARGETS = {"worker": 15.0, "raylet": 45.0, "driver": 30.0}
"""Seconds to the next step, beyond the steps of one checkpoint interval."""
_NEEDS_ROOT = _THROWS_NOBODY_BACK = ("disk", "storage")
_SAVES_NEEDED = {"torn": 2}
"""Whose only checkpoint is torn is not started over silently: that is an error, and not what is tried here."""
_HIT_ONE = ("worker", "torn", "raylet", "drain")
_LONGEST_SECONDS_TO_NEXT_STEP = 180.0
_HOSTS = 3


@dataclass(frozen=True)
class Kill:
    """One kill: when, by Unix time, and the step at which each expert was that it may have thrown back.

    ``seconds_to_next_step``: until the first step of a model that was loaded after the kill, since a place that is free
    again may be given to one that waited, but of none that was being loaded anyway; for a disk or a storage, which
    throw nobody back, until the next step. None if that never came.
    """

    kind: str
    model: str
    time: float
    steps_before: Mapping[str, int]
    seconds_to_next_step: float | None

    def steps_redone(self, models: Sequence[Victim]) -> int:
        """Steps that had to be done again, at most: metrics are logged twice a second, so not of every step."""
        kept = {model.name: model.step_kept(self.time) for model in models}
        return sum(max(0, step - kept[name]) for name, step in self.steps_before.items())


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; returns the exit status: 1 unless every expert finished with the undisturbed weights."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default=",".join(KINDS), help="comma-separated")
    parser.add_argument("--tokens-per-kill", type=int, default=1_500_000, help="budget, so that kills find work")
    parser.add_argument("--like", metavar="FILE", help="JSON of another run, to simulate this one with")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    arguments = parser.parse_args(argv)
    with_token("benchmarks.chaos", argv)
    like = json.loads(Path(arguments.like).read_text(encoding="utf-8"))["parameters"] if arguments.like else None
    kinds = [kind for kind in arguments.kinds.split(",") if os.geteuid() == 0 or kind not in _NEEDS_ROOT]
    with tempfile.TemporaryDirectory(prefix="xelm-chaos-") as folder, redirect_stdout(sys.stderr):
        budget = arguments.tokens_per_kill * (arguments.kills + 1)
        record = run_chaos(arguments.kills, arguments.seed, kinds, Path(folder), budget)
    if like is not None:
        every = int(str(record["checkpoint_every_steps"]))
        steps = cast(Mapping[str, int], record["steps"])
        record["simulated_seconds"] = found = simulated_makespan(steps, _HOSTS, every, like)
        record["simulated_over_measured"] = found / float(str(record["makespan_seconds"]))
    print(json.dumps(record) if arguments.format == "json" else json.dumps(record, indent=1))
    return 0 if record["weights_equal"] and record["experts_finished"] == record["experts"] else 1


def run_chaos(kills: int, seed: int, kinds: Sequence[str], folder: Path, budget_tokens: int) -> dict[str, object]:
    """Train undisturbed and under fire, compare."""
    chance = random.Random(seed)
    bag = [kinds[number % len(kinds)] for number in range(kills)]
    chance.shuffle(bag)
    budget = f"training.budget_tokens={budget_tokens}"
    quiet, loud = Run(folder / "quiet", budget), Run(folder / "loud", budget)
    quiet.make(UNTIL_EXPERTS)
    done: list[Kill] = []
    with parts.limited_disk(loud.root, any(kind in _NEEDS_ROOT for kind in bag)), Raylets(folder, _HOSTS) as raylets:
        loud.copy_inputs(quiet)
        began, driver = time.time(), Driver(loud, raylets.address)
        try:
            for kind in bag:
                if not _wait_for_new_steps(loud, driver, chance.uniform(1.0, 4.0), _SAVES_NEEDED.get(kind, 1)):
                    break
                done.append(_strike(kind, chance, loud, driver, raylets))
            driver_status = driver.finish()
            ended = time.time()
            record = _record(bag, done, driver_status, driver.said(), loud, quiet)  # while the disk is still there
            return record | _makespan(began, ended, done, loud)
        finally:
            driver.end()


def _record(
    bag: Sequence[str], done: Sequence[Kill], driver_status: int, said: Sequence[str], loud: Run, quiet: Run
) -> dict[str, object]:
    models = loud.every()
    medians = {
        kind: median(k.seconds_to_next_step for k in done if k.kind == kind and k.seconds_to_next_step is not None)
        for kind in {k.kind for k in done if k.seconds_to_next_step is not None}
    }
    each = [{**asdict(kill), "steps_redone": kill.steps_redone(models)} for kill in done]
    return {
        "experts": parts.EXPERTS,
        "experts_finished": sum(model.is_done for model in models),
        "driver_status": driver_status,
        "failures": list(said),
        "kills": len(done),
        "kills_asked": len(bag),
        "by_kind": dict(Counter(kill.kind for kill in done)),
        "weights_equal": loud.weights() == quiet.weights(),
        "steps_written_twice": sum(model.steps_twice for model in models),
        "steps_redone": sum(kill.steps_redone(models) for kill in done),
        "median_seconds_to_next_step": medians,
        "target_seconds_to_next_step": TARGETS,
        "each": each,
    }


def _makespan(began: float, ended: float, done: Sequence[Kill], run: Run) -> dict[str, object]:
    """How long it took, and what it lends to the forecast of another run."""
    back = [kill for kill in done if kill.kind not in _THROWS_NOBODY_BACK]
    starts = [kill.seconds_to_next_step for kill in back if kill.seconds_to_next_step is not None]
    models = run.every()
    paces = [pace for model in models for pace in model.paces]
    first = min(float(model.rows[0]["time"] - model.rows[0]["seconds"]) for model in models) - began
    hit = sum(len(kill.steps_before) for kill in back)
    return {
        "makespan_seconds": ended - began,
        "steps": {model.name: model.last_step for model in models},
        "checkpoint_every_steps": parts.SAVE_EVERY,
        "parameters": measured_parameters(ended - began, _HOSTS, hit, starts, median(paces), first),
    }


def _wait_for_new_steps(run: Run, driver: Driver, seconds: float, saves: int) -> bool:
    """Let the fleet work for a while, and until an expert has saved so often; False once it is all over."""
    deadline = time.monotonic() + seconds
    while driver.is_running and (time.monotonic() < deadline or not run.training(saves)):
        time.sleep(0.05)
    return driver.is_running


def _strike(kind: str, chance: random.Random, run: Run, driver: Driver, raylets: Raylets) -> Kill:
    victim = chance.choice(run.training(_SAVES_NEEDED.get(kind, 1)))
    hit = [victim] if kind in _HIT_ONE else run.training()
    unhurt = {model.name for model in run.starting()} - {victim.name} if kind in _HIT_ONE else set()
    watched = [model for model in run.every() if model.name not in unhurt]
    before, struck = {model.name: model.last_step for model in hit}, time.time()
    match kind:
        case "worker":
            victim.kill_worker()
        case "torn":
            victim.tear_newest_checkpoint()
            victim.kill_worker()
        case "raylet":
            raylets.kill_host_of(victim.pid)
            raylets.add()
        case "drain":
            raylets.drain_host_of(victim.pid, 30.0)
            raylets.add()
        case "driver":
            driver.kill()
            driver.start()
        case "disk":
            parts.fill_disk(run.root, 5.0)
        case "storage":
            parts.storage_away(run.root, 10.0)
    return Kill(kind, victim.name, struck, before, _seconds_to_next_step(kind, watched, struck, driver))


def _seconds_to_next_step(kind: str, watched: Sequence[Victim], struck: float, driver: Driver) -> float | None:
    deadline = time.monotonic() + _LONGEST_SECONDS_TO_NEXT_STEP
    while time.monotonic() < deadline and driver.is_running:
        for model in watched:
            row = model.next_step_after(struck) if kind in _THROWS_NOBODY_BACK else model.loaded_after(struck)
            if row is not None:
                return float(row["time"]) - struck
        time.sleep(0.05)
    return None


if __name__ == "__main__":
    sys.exit(main())
