from __future__ import annotations

import pytest

from app.core.records import JsonObject
from benchmarks.scale import main, summary


def side(driver: int, worker: int, shard: float, near: float | None = None) -> JsonObject:
    cpu: JsonObject = {"shard": shard, "train": 9.0}
    if near is not None:
        cpu["shard_near_duplicates"] = near
    return {"driver_peak_bytes": driver, "worker_peak_bytes": worker, "cpu_seconds": cpu}


def test_the_record_has_the_names_that_others_read() -> None:
    found = {1000: side(100, 7, 5.0, 5.0), 4000: side(200, 9, 9.0, 9.0), 16000: side(300, 8, 21.0)}
    record = summary(found, {1: side(5, 0, 0.0), 4: side(6, 0, 0.0)})
    assert record["driver_peak_bytes"] == {"4000": 200, "16000": 300} and record["worker_peak_bytes"] == 9
    # Above the base 4 and 16 s for four times the documents; training took no more than the base.
    assert record["exponent"] == {"shard": pytest.approx(1.0), "train": None, "shard_near_duplicates": None}
    linear = {"shard": True, "train": True, "shard_near_duplicates": True}
    memory = dict.fromkeys(("driver_peak_bytes", "driver_alone", "worker_peak_bytes"), True)
    assert record["met"] == {**memory, "exponent": linear}


def test_what_misses_its_bound_is_said() -> None:
    found = {1: side(0, 0, 1.0), 4: side(1 << 30, 3 << 30, 2.0), 16: side(2 << 30, 0, 17.5)}
    met = summary(found, {1: side(0, 0, 0.0), 4: side(1 << 30, 0, 0.0)})["met"]
    memory = dict.fromkeys(("driver_peak_bytes", "driver_alone", "worker_peak_bytes"), False)
    assert met == {**memory, "exponent": {"shard": False, "train": True}}


@pytest.mark.parametrize("typed", ["4000,many", "1000"])
def test_sizes_that_cannot_be_run_are_refused(typed: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--documents", typed])
    assert "give" in capsys.readouterr().err
