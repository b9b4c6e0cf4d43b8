"""Hours, interruptions and money of independent trainings on n GPUs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from app.core.errors import ConfigError
from app.core.records import JsonObject
from app.core.units import format_seconds
from app.planning.costs import Gpu, gpu_seconds, money, slot_counts
from app.planning.interval import slowdown
from app.planning.makespan import makespan

_HOUR = 3600.0
SEED, DENSE = "seed", "dense"
"""Names of the two models that are no experts: a trained seed is first and alone."""
HOPELESS = 100.0
"""What takes so many times as long as undisturbed counts as never ending: nobody would wait, nor simulate it."""


@dataclass(frozen=True)
class Work:
    """One training run: tokens it will see, steps, and the model's own FLOPs of all of them."""

    name: str
    tokens: int
    steps: int
    flops: int


@dataclass(frozen=True)
class Assumptions:
    """The assumptions: ``gpus_each`` of ``gpu`` for each run, at this share of their peak; an interruption every
    ``between`` seconds, ``restart`` seconds until training goes on; a save takes ``save`` seconds, training waits for
    ``stall`` of them; the head's price for an hour.
    """

    gpu: Gpu
    gpus_each: float
    utilisation: float
    between: float
    restart: float
    save: float
    stall: float
    head_per_hour: float

    def seconds(self, work: Work) -> float:
        """Undisturbed time of one run."""
        return gpu_seconds(work.flops, self.gpu, self.utilisation) / self.gpus_each

    def step_seconds(self, works: Sequence[Work]) -> float:
        """Undisturbed time of an expert's step: a dense model may take as few steps as an expert, and longer ones."""
        work = experts_of(works)[0]
        return self.seconds(work) / work.steps

    def slower(self, interval: float) -> float:
        """Expected time on spot machines as a multiple of the undisturbed, with a save each ``interval`` seconds.

        A save waits for the one before, so the interval is never shorter than that takes.
        """
        return slowdown(max(interval, self.save), self.stall, self.restart + self.save - self.stall, self.between)


def experts_of(works: Sequence[Work]) -> list[Work]:
    """The experts; where there is one for all languages, that is the dense model."""
    found = [work for work in works if work.name.startswith("expert")]
    return found or [work for work in works if work.name == DENSE]


def gpu_outlook(works: Sequence[Work], assumed: Assumptions, best: float, every_steps: int) -> JsonObject:
    """GPU-hours of each run, what saving every so many steps costs, and a row for each number of GPUs.

    best: the best interval in seconds, to compare ``every_steps`` with. Raises ConfigError where saves are so rare, or
    interruptions so frequent, that training would not end on spot machines.
    """
    seconds = {work.name: assumed.seconds(work) for work in works}
    step = assumed.step_seconds(works)
    best_steps = max(1, round(best / step))
    # The end of a run saves it too: none ever goes longer without a save than it takes.
    every = min(every_steps, max(work.steps for work in works)) * step
    spot = assumed.slower(every)
    if spot > HOPELESS:
        raise ConfigError(_never(every, best_steps, assumed))
    interruptions = sum(seconds.values()) * spot / assumed.between
    slots = slot_counts(sum(work.name != SEED for work in works))
    return {
        "gpu": asdict(assumed.gpu) | {"gpus_each": assumed.gpus_each, "utilisation": assumed.utilisation},
        "gpu_hours": {name: time * assumed.gpus_each / _HOUR for name, time in seconds.items()},
        "checkpoints": {
            "seconds_per_step": step,
            "best_steps": best_steps,
            "slowdown_at_best": assumed.slower(best_steps * step),
            "steps": every_steps,
            "slowdown": spot,
            "interruptions": interruptions,
            # On average half an interval has passed since a save, and the newest counts only when it is written.
            "hours_redone": interruptions * (every / 2 + assumed.save) / _HOUR,
        },
        "wall": [_row(works, seconds, assumed, number, spot) for number in slots],
    }


def _never(every: float, best_steps: int, assumed: Assumptions) -> str:
    return (
        f"with a save every {format_seconds(every)} (training.checkpoint_every_steps) and an interruption every"
        f" {format_seconds(assumed.between)} (planning.interruptions_per_hour) training on spot machines would take"
        f" more than {HOPELESS:g} times as long; set training.checkpoint_every_steps={best_steps}, the best by"
        " formula, or plan with fewer interruptions or a shorter planning.restart_seconds"
    )


def _row(
    works: Sequence[Work], seconds: Mapping[str, float], assumed: Assumptions, slots: int, spot: float
) -> JsonObject:
    """Hours and money with so many runs at once, in the fleet's order."""
    fleet = {work.name: work.tokens for work in works if work.name != SEED}
    experts = {work.name: work.tokens for work in experts_of(works)}
    first = seconds.get(SEED, 0.0)
    alone, whole = ((first + makespan(part, seconds, slots)) / _HOUR for part in (experts, fleet))
    used = sum(seconds.values()) * assumed.gpus_each / _HOUR
    return {
        "gpus": slots * assumed.gpus_each,
        "hours_experts": alone,
        "hours": whole,
        "hours_spot": whole * spot,
        "money_on_demand": money(used, assumed.gpu.on_demand, whole, assumed.head_per_hour),
        "money_spot": money(used * spot, assumed.gpu.spot, whole * spot, assumed.head_per_hour),
    }
