from __future__ import annotations

from pathlib import Path

from app.artifacts.store import Store
from app.fleet.fleet import plan_fleet
from app.fleet.record import FleetRecord


def test_a_new_driver_knows_how_often_each_model_was_preempted_and_starts_its_failures_anew(tmp_path: Path) -> None:
    record = FleetRecord(Store(str(tmp_path)).run("r"), {"a": "expert-00", "b": "expert-01"})
    assert record.preemptions() == {}
    fleet = plan_fleet([("a", 1, False), ("b", 1, False)], 1).started("a").preempted("a").started("b").failed("b", "x")
    record.write(fleet)
    again = plan_fleet([("a", 1, False), ("b", 1, False)], 1, record.preemptions())
    assert [(m.preemptions, m.failures) for m in again.members] == [(1, 0), (0, 0)]


def test_two_fleets_of_a_run_share_the_record(tmp_path: Path) -> None:
    run = Store(str(tmp_path)).run("r")
    FleetRecord(run, {"s": "seed"}).write(plan_fleet([("s", 1, True)], 1))
    FleetRecord(run, {"a": "expert-00"}).write(plan_fleet([("a", 1, False)], 1))
    entries = run.read_json("fleet.json")
    assert {name: entry["state"] for name, entry in entries.items()} == {"seed": "done", "expert-00": "waiting"}  # type: ignore[index, call-overload]
