from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest

from app.core.errors import TrainingError
from app.core.records import JsonObject
from app.fleet import drive as drive_module
from app.fleet.capacity import Shortage
from app.fleet.drive import drive, innermost
from app.fleet.fleet import Fleet, plan_fleet

COUNTS: JsonObject = {"steps": 1, "tokens_seen": 10, "final_loss": 1.0, "training_seconds": 2.0}


class Cluster:
    """Ends each run at once, with the next of its outcomes; records how many run at a time."""

    def __init__(self, outcomes: dict[str, list[JsonObject | Exception]], slots: Callable[[], int]) -> None:
        self.outcomes, self.started, self.most = outcomes, [], 0
        self.saved: dict[str, int] = {}
        self.elsewhere: dict[str, list[str]] = {}
        self.stop_after = 1000
        self.saves = 0
        self.rounds_without_end = 0
        self.asked: list[int] = []
        self.short: Shortage | None = None
        self._slots, self._running = slots, list[tuple[str, Future[JsonObject]]]()

    def slots(self) -> int:
        """As many as the test says."""
        return self._slots()

    def saved_step(self, task: Any) -> int:
        """What the runs so far have saved."""
        return self.saved.get(task.key, 0)

    def taken_by(self, task: Any) -> str:
        """What the test says, one look after the other."""
        return self.elsewhere.get(task.key, [""]).pop(0) if self.elsewhere.get(task.key) else ""

    def ask_for(self, runs: int) -> None:
        """Keep what is asked for."""
        self.asked.append(runs)

    def shortage(self) -> Shortage | None:
        """What the test says."""
        return self.short

    def is_stopping(self) -> bool:
        """Asked first in each round: what runs then was started in the one before."""
        if self.rounds_without_end and self._running:
            self.rounds_without_end -= 1
        else:
            self._end_one()
        return len(self.started) >= self.stop_after

    def start(self, task: Any) -> Future[JsonObject]:
        self.started.append(task.key)
        self._running.append((task.key, future := Future()))
        return future

    def _end_one(self) -> None:
        self.most = max(self.most, len(self._running))
        if self._running:
            key, future = self._running.pop(0)
            outcome = self.outcomes[key].pop(0)
            self.saved[key] = self.saved.get(key, 0) + self.saves
            future.set_exception(outcome) if isinstance(outcome, Exception) else future.set_result(outcome)


def run(
    outcomes: dict[str, list[Any]],
    max_failures: int = 1,
    slots: Callable[[], int] = lambda: 9,
    saves: int = 0,
    stop_after: int = 1000,
) -> tuple[Fleet, Cluster]:
    """Drive a fleet to its end; ``saves``: steps that each run gets further."""
    cluster = Cluster(
        {key: [COUNTS if item == "done" else item for item in row] for key, row in outcomes.items()}, slots
    )
    cluster.stop_after = stop_after
    cluster.saves = saves
    tasks: dict[str, Any] = {key: SimpleNamespace(key=key, name=f"name of {key}") for key in outcomes}
    seen: list[Fleet] = []
    fleet = drive(plan_fleet([(key, 1, False) for key in outcomes], max_failures), tasks, cluster, seen.append)
    assert seen[-1] == fleet
    return fleet, cluster


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.fleet.drive._SECONDS_BETWEEN_LOOKS", 0.001)


def test_a_lost_process_is_tried_again_and_the_others_go_on() -> None:
    fleet, cluster = run({"a": [RuntimeError("node died"), "done"], "b": ["done"]})
    assert [(m.key, m.state, m.failures) for m in fleet.members] == [("a", "done", 1), ("b", "done", 0)]
    assert sorted(cluster.started) == ["a", "a", "b"]


def test_machines_are_asked_for_in_each_round_as_many_as_are_not_finished() -> None:
    _, cluster = run({"a": [RuntimeError("node died"), "done"], "b": ["done"], "c": ["done"]}, slots=lambda: 1)
    assert cluster.started == ["a", "a", "b", "c"]
    assert cluster.asked == [3, 3, 3, 3, 2, 2, 1, 1]  # a run ends in a round of its own


def test_a_model_that_another_run_trains_is_waited_for_while_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    cluster = Cluster({"a": [COUNTS], "b": [COUNTS]}, lambda: 1)
    cluster.elsewhere["a"] = ["other"] * 3
    tasks: dict[str, Any] = {key: SimpleNamespace(key=key, name=f"name of {key}") for key in ("a", "b")}
    fleet = drive(plan_fleet([("a", 2, False), ("b", 1, False)], 0), tasks, cluster, lambda _: None)
    assert fleet.is_over and not fleet.given_up() and cluster.started == ["b", "a"]
    assert caplog.text.count("name of a is being trained by the run other") == 1


def test_a_model_that_another_run_took_over_waits_uncharged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    fleet, cluster = run({"a": [{"taken": "another attempt trains it"}, "done"]}, max_failures=0)
    (member,) = fleet.members
    assert (member.state, member.failures, member.preemptions, cluster.started) == ("done", 0, 0, ["a", "a"])
    assert "another attempt trains it" in caplog.text


def test_waiting_for_another_run_is_no_want_of_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drive_module, "_HOPELESS_SECONDS", 0.0)
    cluster = Cluster({"a": [COUNTS]}, lambda: 1)
    cluster.elsewhere["a"], cluster.short = ["other"] * 5, Shortage("a CPU", can_end=False)
    tasks: dict[str, Any] = {"a": SimpleNamespace(key="a", name="a")}
    assert drive(plan_fleet([("a", 1, False)], 0), tasks, cluster, lambda _: None).is_over


def test_a_cluster_without_room_is_told_also_after_a_model_was_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drive_module, "_HOPELESS_SECONDS", 0.0)
    left = iter([1])
    cluster = Cluster({"a": [COUNTS]}, lambda: next(left, 0))
    cluster.elsewhere["a"], cluster.short = ["other"], Shortage("a CPU", can_end=False)
    tasks: dict[str, Any] = {"a": SimpleNamespace(key="a", name="a")}
    with pytest.raises(TrainingError, match="capacity that cannot come: a CPU"):
        drive(plan_fleet([("a", 1, False)], 0), tasks, cluster, lambda _: None)


def test_a_process_lost_too_often_is_given_up_with_its_last_reason() -> None:
    fleet, _ = run({"a": [RuntimeError("x"), RuntimeError("out of memory")], "b": ["done"]})
    assert fleet.member("a").state == "failed" and fleet.member("a").reason == "out of memory"
    assert fleet.member("b").state == "done"


def test_machines_may_go_as_often_as_they_like_as_long_as_something_is_saved_in_between() -> None:
    fleet, _ = run({"a": [RuntimeError("node died")] * 7 + ["done"]}, max_failures=1, saves=10)
    assert fleet.member("a").state == "done"
    fleet, cluster = run({"a": [RuntimeError("node died")] * 7 + ["done"]}, max_failures=1, saves=0)
    assert fleet.member("a").state == "failed" and len(cluster.started) == 2


def test_after_a_stop_nothing_is_started_and_what_runs_is_waited_for() -> None:
    outcomes = {"a": [{"preempted": "asked"}], "b": ["done"], "c": ["done"]}
    fleet, cluster = run(outcomes, slots=lambda: 2, stop_after=2)
    assert cluster.started == ["a", "b"] and not fleet.is_over
    assert {m.key: m.state for m in fleet.members} == {"a": "waiting", "b": "done", "c": "waiting"}


def test_an_error_of_ours_is_not_tried_again() -> None:
    fleet, cluster = run({"a": [{"failed": "the parent is missing; run jobs.seed"}]}, max_failures=5)
    assert fleet.member("a").state == "failed" and cluster.started == ["a"]
    assert fleet.member("a").reason == "the parent is missing; run jobs.seed"


@pytest.mark.parametrize("outcome", [{"failed": "s3://K:hidden@b is full"}, RuntimeError("s3://K:hidden@b is full")])
def test_a_reason_is_kept_without_the_secret_that_a_storage_repeats(outcome: object) -> None:
    fleet, _ = run({"a": [outcome]}, max_failures=0)
    assert "b is full" in fleet.member("a").reason and "hidden" not in fleet.member("a").reason


def test_preemptions_are_counted_apart_and_never_exhaust_the_tries() -> None:
    fleet, cluster = run({"a": [{"preempted": "spot"}] * 4 + ["done"]}, max_failures=0)
    assert fleet.member("a").state == "done" and len(cluster.started) == 5
    assert (fleet.member("a").preemptions, fleet.member("a").failures) == (4, 0)


def test_no_more_run_at_once_than_there_are_slots_and_slots_may_grow() -> None:
    growing = iter([1, 1, 3])
    fleet, cluster = run({key: ["done"] for key in "abcdef"}, slots=lambda: next(growing, 3))
    assert fleet.is_over and cluster.most == 3
    assert cluster.started[0] == "a" and sorted(cluster.started) == list("abcdef")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "Worker group failed\nTraceback ...\nOSError: No space left on device\n  at x",
            "OSError: No space left on device",
        ),
        ("one line", "one line"),
        ("Training failed:\n[Rank 0 Error Snippet]:\nThe actor died.\nIts pid was 7.\n", "The actor died."),
        ("", "RuntimeError"),
    ],
)
def test_the_innermost_reason_is_told(text: str, told: str) -> None:
    assert innermost(RuntimeError(text)) == told


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_SECONDS_BETWEEN_LOOKS", "_SECONDS_BETWEEN_WORDS", "_HOPELESS_SECONDS"):
        monkeypatch.setattr(drive_module, name, 0.05)


@pytest.mark.usefixtures("hurried")
def test_a_wait_for_capacity_that_cannot_come_ends_and_says_what_is_missing() -> None:
    cluster = Cluster({"a": []}, lambda: 0)
    cluster.short = Shortage("a run needs 1 GPU", can_end=False)
    tasks: dict[str, Any] = {"a": SimpleNamespace(key="a", name="a")}
    with pytest.raises(TrainingError, match="capacity that cannot come: a run needs 1 GPU"):
        drive(plan_fleet([("a", 1, False)], 0), tasks, cluster, lambda _fleet: None)


@pytest.mark.usefixtures("hurried")
def test_a_wait_for_capacity_that_can_come_is_said_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    looks = iter([0] * 8)
    cluster = Cluster({"a": [COUNTS]}, lambda: next(looks, 1))
    cluster.short = Shortage("a run needs 1 GPU; nodes of the kind gpu can be added", can_end=True)
    tasks: dict[str, Any] = {"a": SimpleNamespace(key="a", name="a")}
    with caplog.at_level(logging.INFO):
        fleet = drive(plan_fleet([("a", 1, False)], 0), tasks, cluster, lambda _fleet: None)
    assert fleet.member("a").state == "done"
    said = [text for text in caplog.messages if "waiting for capacity since" in text]
    assert len(said) >= 2 and all("nodes of the kind gpu can be added" in text for text in said)


@pytest.mark.usefixtures("hurried")
def test_runs_that_have_lost_all_machines_say_so_and_are_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    looks = iter([1])
    cluster = Cluster({"a": [COUNTS]}, lambda: next(looks, 0))
    cluster.short, cluster.rounds_without_end = Shortage("a run needs 1 CPU; 0 nodes hold it", can_end=False), 8
    tasks: dict[str, Any] = {"a": SimpleNamespace(key="a", name="a")}
    with caplog.at_level(logging.INFO):
        fleet = drive(plan_fleet([("a", 1, False)], 0), tasks, cluster, lambda _fleet: None)
    assert fleet.member("a").state == "done"
    assert sum("waiting for capacity since" in text and "0 nodes hold it" in text for text in caplog.messages) >= 2


@pytest.mark.usefixtures("hurried")
def test_runs_on_all_machines_are_no_wait_for_capacity(caplog: pytest.LogCaptureFixture) -> None:
    cluster = Cluster({"a": [COUNTS], "b": [COUNTS]}, lambda: 1)
    cluster.short, cluster.rounds_without_end = Shortage("a run needs 1 CPU", can_end=False), 8
    tasks: dict[str, Any] = {name: SimpleNamespace(key=name, name=name) for name in "ab"}
    with caplog.at_level(logging.INFO):
        drive(plan_fleet([("a", 1, False), ("b", 1, False)], 0), tasks, cluster, lambda _fleet: None)
    assert not any("waiting for capacity" in text for text in caplog.messages)
