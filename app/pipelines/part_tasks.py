"""Ray tasks over the parts of the work (source files, shard parts), with progress and time left in the log."""

from __future__ import annotations

import json
import logging
import math
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import ray.data

from app.core import errors
from app.core.units import format_bytes, format_count, format_seconds

log = logging.getLogger(__name__)

_TELL_SECONDS = 5.0
_QUIETEST_SECONDS = 10.0
"""A part may take minutes: the log never falls silent for longer."""
_LEAST_BYTES = 1 << 20
"""Of parts that share a task: less is not worth the start of one."""
_TASKS_A_CPU = 4
_LEAST_TASKS = 32
"""Of a step whose parts share tasks: so that none is long after the others."""

Known = Callable[[int], Mapping[str, int] | None]
"""What is written of a part already, as its task would return it; None if that is not all of it."""
Task = Callable[[int], Mapping[str, int]]
"""The work on one part, by number; returns what was done for the log, e.g. ``{"documents": 12, "bytes": 3456}``."""


def run_part_tasks(
    what: str,
    parts: str,
    task: Task,
    numbers: Sequence[int],
    cpus: float = 1.0,
    weights: Mapping[int, float] | None = None,
    most: float = 0.0,
    gpus: float = 0.0,
    known: Known | None = None,
) -> dict[int, dict[str, int]]:
    """Run ``task`` for each number, in Ray tasks; return what each has done when all are.

    what: name of the step. ``parts``: what the numbers count, in the plural. ``cpus``, ``gpus``: of one Ray task.
    ``weights``: how much work each part is, for the time left; equal if not given. ``most``: bytes up to which small
    parts share a Ray task, see ``bundle``, the weights being bytes; by default each part has a task of its own. An
    error of ours (XelmError) in a task is raised here as it is; any other as RuntimeError with the worker's traceback.
    Parts that are done by then stay done. ``known``: asked in a Ray task for its parts in their order, up to the first
    that it does not know: where a machine is lost, the next attempt goes on behind what its task had done there.
    """
    done: dict[int, dict[str, int]] = {}
    if not numbers:
        return done
    work = {number: (weights or {}).get(number, 1.0) for number in numbers}
    least = math.ceil(_TASKS_A_CPU * ray.cluster_resources().get("CPU", 1.0) / cpus)
    bundles = bundle(work, most, max(least, _LEAST_TASKS)) if most else [[number] for number in numbers]
    progress = Progress(what, parts, work)
    _silence_ray_data()
    # A task works on a block, and left alone Ray Data may put several rows into one: so a block for each bundle.
    tasks = ray.data.from_items([{"item": numbers} for numbers in bundles], override_num_blocks=len(bundles))
    with _told_meanwhile(progress):
        for row in tasks.map(_guarded(task, known), num_cpus=cpus, num_gpus=gpus or None).iter_rows():
            # One string: rows become Arrow tables, where results and errors would have to share a schema.
            for outcome in json.loads(row["outcomes"]):
                if "error" in outcome:
                    raise _as_raised(what, outcome)
                done[outcome["number"]] = outcome["done"]
                progress.add(outcome["number"], outcome["done"])
    return done


def bundle(work: Mapping[int, float], most: float, least_tasks: int) -> list[list[int]]:
    """Parts that share a Ray task: successive ones up to ``most`` bytes together, the bundles with most work first.

    work: bytes of each part. A bundle takes no more than its share of ``least_tasks`` either, if that is not next to
    nothing, so that a little work is still spread over all processors; a part with more is alone.
    """
    room = max(min(most, sum(work.values()) / least_tasks), _LEAST_BYTES)
    bundles: list[tuple[float, list[int]]] = []
    for number, amount in work.items():
        if bundles and bundles[-1][0] + amount <= room:
            held, numbers = bundles[-1]
            numbers.append(number)
            bundles[-1] = held + amount, numbers
        else:
            bundles.append((amount, [number]))
    # A large one that started last would leave all other processors waiting for it.
    return [numbers for _, numbers in sorted(bundles, key=lambda bundle: -bundle[0])]


class Progress:
    """What is done of a step, and the line about it. ``weights``: amount of work of each part."""

    def __init__(
        self, what: str, parts: str, weights: Mapping[int, float], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._what, self._parts, self._weights, self._clock = what, parts, weights, clock
        self._started = self._last = clock()
        self._finished, self._weight, self._done = 0, 0.0, Counter[str]()
        # The driver's loop and the thread that tells meanwhile come at the same time.
        self._lock = threading.Lock()

    def add(self, number: int, done: Mapping[str, int]) -> None:
        """Count a part that is done; log a line if the last one is some seconds old or this part is the last."""
        with self._lock:
            self._finished += 1
            self._weight += self._weights[number]
            self._done.update(done)
        # Outside of the lock, which tell takes itself and which cannot be taken twice.
        self.tell(0.0 if self._finished == len(self._weights) else _TELL_SECONDS)

    def tell(self, quiet_seconds: float) -> None:
        """Log a line if the last one is at least so old."""
        with self._lock:
            now = self._clock()
            if now - self._last >= quiet_seconds:
                self._last = now
                log.info("%s", self.line(now - self._started))

    def line(self, seconds: float) -> str:
        """The state after so many seconds: parts, amounts with their rates, time left.

        The first part's time holds the start of Ray's workers too, so time left is told from the second on.
        """
        total = sum(self._weights.values())
        words = [f"{self._what}: {self._finished}/{len(self._weights)} {self._parts}"]
        words += [_amount(name, count, seconds) for name, count in self._done.items()]
        if self._finished == len(self._weights):
            return f"{', '.join(words)} in {format_seconds(seconds)}"
        more = seconds * (total - self._weight) / max(self._weight, 1e-9)
        left = f"about {format_seconds(more)} left" if self._finished > 1 else ""
        return ", ".join([*words, f"{format_seconds(seconds)} so far", *([left] if left else [])])


def _amount(name: str, count: int, seconds: float) -> str:
    rate = count / max(seconds, 1e-9)
    if name == "bytes":
        return f"{format_bytes(count)} ({format_bytes(rate)}/s)"
    return f"{format_count(count)} {name} ({format_count(rate)}/s)"


@contextmanager
def _told_meanwhile(progress: Progress) -> Iterator[None]:
    ended = threading.Event()

    def tell() -> None:
        while not ended.wait(1.0):
            progress.tell(_QUIETEST_SECONDS)

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        ended.set()
        teller.join()


def _guarded(task: Task, known: Known | None = None) -> Callable[[dict[str, Any]], dict[str, str]]:
    """The task as Ray Data calls it: errors come back as data, since Ray wraps and retells those that are raised."""

    def run_one(number: int, work: Known) -> dict[str, Any] | None:
        try:
            done = work(number)
            return None if done is None else {"number": number, "done": dict(done)}
        except errors.XelmError as error:
            return {"error": str(error), "kind": type(error).__name__}
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}\n{traceback.format_exc()}", "kind": ""}

    def run(row: dict[str, Any]) -> dict[str, str]:
        outcomes: list[dict[str, Any]] = []
        look = known
        for number in map(int, row["item"]):
            before = run_one(number, look) if look else None
            # Parts are done in order: after the first that is not, a look for each would be for nothing.
            look = look if before else None
            outcomes.append(before or _made(run_one(number, task)))
            # The step fails with this error: the rest of the bundle would be work for nothing.
            if "error" in outcomes[-1]:
                break
        return {"outcomes": json.dumps(outcomes)}

    return run


def _made(outcome: dict[str, Any] | None) -> dict[str, Any]:
    assert outcome is not None
    return outcome


def _as_raised(what: str, outcome: Mapping[str, str]) -> Exception:
    # Only names cross the processes: looked up among our own classes, and nothing else is made from them.
    kind = getattr(errors, outcome["kind"], None) if outcome["kind"] else None
    if isinstance(kind, type) and issubclass(kind, errors.XelmError):
        return kind(outcome["error"])
    return RuntimeError(f"{what}: {outcome['error']}")


def _silence_ray_data() -> None:
    """No plan, bars or summary of Ray Data on the terminal; its warnings, but that there are no bars, and its own log
    files stay.
    """
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)
    for handler in logging.getLogger("ray.data").handlers:
        if handler.name == "console":
            handler.setLevel(logging.WARNING)
