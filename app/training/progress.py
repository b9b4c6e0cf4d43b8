"""What a model's metrics say of its training: how far, how fast, and how much time its interruptions cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from app.core.records import JsonObject


@dataclass(frozen=True)
class TrainingProgress:
    """Newest row of the metrics and what all of them add up to; times in seconds, ``time`` Unix.

    ``wall_seconds``: from the first step's begin to the newest row; ``worker_seconds``: training of all attempts, work
    that was lost and done again included, without what lies between two of them.
    """

    step: int
    tokens_seen: int
    loss: float
    tokens_per_second: float
    time: float
    attempts: int
    seconds_lost: float
    wall_seconds: float
    worker_seconds: float


def training_progress(rows: Sequence[JsonObject]) -> TrainingProgress | None:
    """Read off the rows of ``metrics.jsonl``; None if there is none.

    A row of an attempt that started after the row before was written belongs to a new attempt; so does one whose
    ``seconds`` are fewer, since the clocks of two machines may differ. The time between the two, less what their
    steps take at the median pace, is lost: the end of the old attempt, the start of the new one, and the
    steps that had to be done again.
    """
    if not rows:
        return None
    steps, times, seconds = (
        [float(str(row["step"])) for row in rows],
        [float(str(row["time"])) for row in rows],
        [float(str(row["seconds"])) for row in rows],
    )
    pairs = list(zip(range(len(rows) - 1), range(1, len(rows)), strict=True))
    # `seconds` alone would not do: after a short attempt the next one's first row may have more of them.
    breaks = [(i, j) for i, j in pairs if seconds[j] < seconds[i] or times[j] - seconds[j] >= times[i]]
    paces = [(times[j] - times[i]) / (steps[j] - steps[i]) for i, j in pairs if (i, j) not in breaks]
    # The median: a row that waited for a save, or for a busy machine, is no pace.
    pace = median(paces) if paces else 0.0
    # Not below zero: clocks of two machines may differ, and the new one may be faster.
    lost = sum(max(0.0, times[j] - times[i] - pace * (steps[j] - steps[i])) for i, j in breaks)
    last = rows[-1]
    # Rows that an earlier version wrote do not hold it, and there what was lost is unknown.
    before = last.get("seconds_before", sum(seconds[i] for i, _ in breaks))
    return TrainingProgress(
        step=int(str(last["step"])),
        tokens_seen=int(str(last["tokens_seen"])),
        loss=float(str(last["loss"])),
        tokens_per_second=float(str(last["tokens_per_second"])),
        time=times[-1],
        attempts=len(breaks) + 1,
        seconds_lost=lost,
        wall_seconds=times[-1] - times[0] + seconds[0],
        worker_seconds=float(str(before)) + seconds[-1],
    )
