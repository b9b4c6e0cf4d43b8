from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pytest

from app.core.records import JsonObject
from benchmarks import measure

MEGABYTES = 1_000_000


def hold(megabytes: int) -> JsonObject:
    """A side that holds memory and works for a while."""
    before = measure.resident_bytes()
    with measure.measured() as usage:
        held = np.ones(megabytes * MEGABYTES, dtype=np.uint8)
        while time.process_time() < 0.2:
            held[0] += 1
    return {"cpu_seconds": usage.cpu_seconds, "peak_bytes": usage.peak_bytes - before}


def test_cpu_seconds_are_work_and_not_waiting() -> None:
    with measure.measured() as waiting:
        time.sleep(0.3)
    with measure.measured() as working:
        end = time.process_time() + 0.3
        while time.process_time() < end:
            pass
    assert waiting.cpu_seconds < 0.15 <= working.cpu_seconds


def test_a_side_runs_in_a_process_of_its_own_and_its_peak_is_its_own() -> None:
    ballast = np.ones(400 * MEGABYTES, dtype=np.uint8)
    small, large = (
        measure.number(measure.run_side(f"{__name__}:hold", {"megabytes": mb}), "peak_bytes") for mb in (5, 200)
    )
    assert ballast[-1] and 190 * MEGABYTES < large - small < 210 * MEGABYTES


def test_a_side_that_fails_is_an_error_with_its_messages() -> None:
    with pytest.raises(RuntimeError, match="no such file"):
        measure.run_side(f"{__name__}:fail", {})


def fail() -> JsonObject:
    """A side that breaks."""
    raise OSError("no such file")


def test_sides_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def record(function: str, _: JsonObject) -> JsonObject:
        order.append(function)
        return {"seconds": float(len(order))}

    monkeypatch.setattr(measure, "run_side", record)
    results = measure.in_turns(("a", "b"), {}, 3)
    assert order == ["a", "b"] * 3
    assert [row["seconds"] for row in results["b"]] == [2.0, 4.0, 6.0]


def test_a_ratio_is_the_median_over_turns_with_an_interval_inside_the_extremes() -> None:
    ours: list[JsonObject] = [{"x": value} for value in (2.0, 3.0, 8.0)]
    theirs: list[JsonObject] = [{"x": 1.0}, {"x": 1.0}, {"x": 2.0}]
    found = measure.ratio(ours, theirs, "x")
    assert found["ratio"] == 3.0 and found["low"] == 2.0 and found["high"] == 4.0


@pytest.mark.parametrize(("value", "at_least", "met"), [(1.3, True, True), (1.2, True, False), (1.2, False, True)])
def test_a_target_is_met_by_the_median(value: float, at_least: bool, met: bool) -> None:
    assert measure.against(1.25, {"ratio": value}, at_least)["met"] is met


def test_the_table_shows_every_ratio_with_its_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    cell: dict[str, Any] = {"ratio": 2.0, "low": 1.9, "high": 2.1}
    record: JsonObject = {"cases": {"demo": {"speed": {**cell, "target": ">= 1", "met": True}, "memory": cell}}}
    measure.show(record, "text")
    shown = capsys.readouterr().out
    assert "| cases / demo / speed | 2.000 [1.900, 2.100] | >= 1 | yes |" in shown
    measure.show(record, "json")
    assert json.loads(capsys.readouterr().out) == record


def test_floors_are_positive_speeds() -> None:
    assert measure.gemm_flops_per_cpu_second() > 1e8
    assert measure.copied_bytes_per_cpu_second() > 1e8
