from __future__ import annotations

import json
import logging

import pytest

from app.core.errors import CorpusError
from app.pipelines.part_tasks import Progress, _guarded, bundle, run_part_tasks


def test_time_left_is_by_the_work_that_is_left_not_by_the_number_of_parts() -> None:
    progress = Progress("shard", "files", {0: 1.0, 1: 9.0, 2: 30.0}, clock=lambda: 0.0)
    assert progress.line(9.0) == "shard: 0/3 files, 9.0s so far"
    progress.add(0, {"documents": 1000, "bytes": 2048})
    assert progress.line(1.0).endswith("1.0s so far")  # most of it was the start of a worker
    progress.add(1, {"documents": 1000, "bytes": 2048})
    line = progress.line(2.0)  # a quarter of the work in 2 s: the rest takes 6
    assert line == "shard: 2/3 files, 2k documents (1k/s), 4.0 KiB (2.0 KiB/s), 2.0s so far, about 6.0s left"


def test_a_line_every_some_seconds_and_one_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    times = iter([0.0, 4.0, 5.0, 5.5])  # the start, then one for each part
    progress = Progress("shard", "files", dict.fromkeys(range(3), 1.0), clock=lambda: next(times))
    for number in range(3):
        progress.add(number, {"bytes": 1})
    assert [record.getMessage().partition(",")[0] for record in caplog.records] == [
        "shard: 2/3 files",
        "shard: 3/3 files",
    ]


MIB = 1 << 20


def test_small_parts_share_a_task_up_to_the_most_and_the_largest_bundle_is_first() -> None:
    work = dict(enumerate(size * MIB for size in (1.0, 2.0, 9.0, 3.0, 1.0, 1.0, 3.0)))
    assert bundle(work, 5.0 * MIB, 1) == [[2], [3, 4, 5], [0, 1], [6]]


def test_a_little_work_is_still_spread_but_for_what_is_next_to_nothing() -> None:
    assert bundle(dict.fromkeys(range(8), 1.0 * MIB), 100.0 * MIB, 4) == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert bundle(dict.fromkeys(range(3), 1.0 * MIB), 100.0 * MIB, 32) == [[0], [1], [2]]
    assert bundle(dict.fromkeys(range(4), 0.4 * MIB), 100.0 * MIB, 32) == [[0, 1], [2, 3]]


@pytest.mark.ray
def test_every_number_is_done_once_and_ray_says_nothing(
    ray_running: None, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    assert ray_running is None
    caplog.set_level(logging.INFO)
    weights = {3: 1.0, 4: 1.0, 5: 99.0 * MIB}
    done = run_part_tasks(
        "square", "numbers", lambda number: {"documents": number**2}, [3, 4, 5], 1.0, weights, 200.0 * MIB
    )
    assert done == {3: {"documents": 9}, 4: {"documents": 16}, 5: {"documents": 25}}
    assert "square: 3/3 numbers, 50 documents" in caplog.text
    assert capfd.readouterr() == ("", "")


@pytest.mark.ray
def test_an_error_of_ours_comes_as_it_is_and_any_other_with_its_traceback(ray_running: None) -> None:
    assert ray_running is None

    def fail(number: int) -> dict[str, int]:
        if number == 1:
            raise CorpusError("a.jsonl: cannot be read; do this")
        return {"documents": 1 // number}

    with pytest.raises(CorpusError, match=r"^a\.jsonl: cannot be read; do this$"):
        run_part_tasks("shard", "files", fail, [1])
    with pytest.raises(RuntimeError, match=r"(?s)^shard: ZeroDivisionError: .*in fail"):
        run_part_tasks("shard", "files", fail, [0])


def test_a_task_whose_machine_was_lost_goes_on_behind_what_it_had_done() -> None:
    asked, made = list[int](), list[int]()

    def known(number: int) -> dict[str, int] | None:
        asked.append(number)
        return {"documents": 10 * number} if number in (4, 5, 8) else None

    def task(number: int) -> dict[str, int]:
        made.append(number)
        return {"documents": number}

    row = _guarded(task, known)({"item": [4, 5, 6, 7, 8]})
    assert [outcome["done"]["documents"] for outcome in json.loads(row["outcomes"])] == [40, 50, 6, 7, 8]
    # Parts are done in order: behind the first that is missing none is looked for.
    assert (asked, made) == ([4, 5, 6], [6, 7, 8])
