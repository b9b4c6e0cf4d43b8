from __future__ import annotations

import random

from app.fleet.fleet import Fleet, plan_fleet

WORK = [("small", 10, False), ("large", 30, False), ("middle", 20, False), ("made", 99, True)]


def states(fleet: Fleet) -> dict[str, str]:
    return {member.key: member.state for member in fleet.members}


def test_what_is_already_done_is_never_started() -> None:
    fleet = plan_fleet(WORK, 1)
    assert states(fleet) == {"small": "waiting", "large": "waiting", "middle": "waiting", "made": "done"}
    assert "made" not in fleet.next_to_start(10)


def test_the_largest_waiting_work_starts_first_and_no_more_than_there_are_slots() -> None:
    fleet = plan_fleet(WORK, 1)
    assert fleet.next_to_start(2) == ["large", "middle"]
    assert fleet.next_to_start(0) == fleet.next_to_start(-1) == []
    fleet = fleet.started("large")
    assert fleet.next_to_start(9) == ["middle", "small"]


def test_equal_work_starts_in_the_order_given() -> None:
    assert plan_fleet([("b", 5, False), ("a", 5, False)], 0).next_to_start(2) == ["b", "a"]


def test_a_run_goes_from_waiting_over_running_to_done() -> None:
    fleet = plan_fleet([("a", 1, False)], 0)
    assert not fleet.is_over
    fleet = fleet.started("a")
    assert states(fleet) == {"a": "running"} and not fleet.is_over and fleet.next_to_start(3) == []
    fleet = fleet.done("a")
    assert states(fleet) == {"a": "done"} and fleet.is_over and fleet.given_up() == []


def test_a_run_that_fails_is_tried_again_until_its_failures_are_used_up() -> None:
    fleet = plan_fleet([("a", 1, False), ("b", 2, False)], 2)
    for attempt in (1, 2):
        fleet = fleet.started("a").failed("a", f"reason {attempt}")
        assert fleet.member("a").state == "waiting" and fleet.member("a").failures == attempt
        assert "a" in fleet.next_to_start(2)
    fleet = fleet.started("a").failed("a", "reason 3")
    assert fleet.member("a").state == "failed" and fleet.member("a").reason == "reason 3"
    assert fleet.next_to_start(2) == ["b"] and not fleet.is_over
    fleet = fleet.started("b").done("b")
    assert fleet.is_over and [member.key for member in fleet.given_up()] == ["a"]


def test_without_retries_the_first_failure_is_final() -> None:
    fleet = plan_fleet([("a", 1, False)], 0).started("a").failed("a", "no")
    assert fleet.member("a").state == "failed" and fleet.is_over


def test_a_failure_that_would_come_again_is_final_at_once() -> None:
    fleet = plan_fleet([("a", 1, False)], 5).started("a").failed("a", "no parent", try_again=False)
    assert fleet.member("a").state == "failed" and fleet.member("a").failures == 1 and fleet.is_over


def test_preemption_is_not_charged() -> None:
    fleet = plan_fleet([("a", 1, False)], 0)
    for time in range(1, 6):
        fleet = fleet.started("a").preempted("a")
        assert fleet.member("a").state == "waiting" and fleet.member("a").preemptions == time
    assert fleet.member("a").failures == 0
    assert fleet.started("a").done("a").is_over


def test_a_transition_changes_one_member_and_leaves_the_fleet_it_came_from() -> None:
    fleet = plan_fleet(WORK, 1)
    after = fleet.started("large")
    assert states(fleet)["large"] == "waiting"
    assert {key for key, state in states(after).items() if state != states(fleet)[key]} == {"large"}


def test_whatever_happens_a_fleet_ends_with_bounded_tries() -> None:
    rng = random.Random(3)
    for _ in range(50):
        fleet, starts = plan_fleet([(str(i), rng.randrange(9), False) for i in range(5)], 2), 0
        while not fleet.is_over:
            running = [member.key for member in fleet.members if member.state == "running"]
            for key in fleet.next_to_start(2 - len(running)):
                fleet, starts = fleet.started(key), starts + 1
            key = rng.choice([member.key for member in fleet.members if member.state == "running"])
            fleet = fleet.failed(key, "x") if rng.random() < 0.6 else fleet.done(key)
        assert starts <= 5 * 3
        assert all(member.failures == 3 for member in fleet.given_up())


PARENTS = {"child": {"parent", "tokens"}, "grandchild": {"child"}}
CHAIN = [("grandchild", 9, False), ("child", 5, False), ("parent", 1, False), ("other", 3, False)]


def test_a_member_starts_when_all_that_it_is_made_from_are_done() -> None:
    fleet = plan_fleet(CHAIN, 1, parents=PARENTS)
    assert fleet.next_to_start(4) == ["other", "parent"] and fleet.able == 2
    fleet = fleet.started("parent")
    assert fleet.next_to_start(4) == ["other"] and fleet.able == 2
    fleet = fleet.done("parent")
    assert fleet.next_to_start(4) == ["child", "other"]
    assert fleet.started("child").done("child").next_to_start(1) == ["grandchild"]


def test_a_parent_that_is_done_already_or_no_member_is_not_waited_for() -> None:
    fleet = plan_fleet([("child", 5, False), ("parent", 1, True)], 1, parents={"child": {"parent", "seed"}})
    assert fleet.next_to_start(2) == ["child"]


def test_what_waits_for_a_member_that_is_given_up_fails_with_it() -> None:
    fleet = plan_fleet(CHAIN, 1, parents=PARENTS)
    fleet = fleet.started("parent").failed("parent", "no memory")
    assert states(fleet)["child"] == "waiting"  # the parent is tried again
    fleet = fleet.started("parent").failed("parent", "no memory")
    assert states(fleet) == {"parent": "failed", "child": "failed", "grandchild": "failed", "other": "waiting"}
    assert "not trained" in fleet.member("grandchild").reason and not fleet.is_over
    assert fleet.started("other").done("other").is_over
