"""What a fleet of independent training runs does next: a pure state machine, no Ray and no clock.

waiting -> running -> done | failed; a run that fails goes back to waiting until it has failed too often without
saving anything in between, a run that is preempted goes back without being charged.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

State = Literal["waiting", "running", "done", "failed"]


@dataclass(frozen=True)
class Member:
    """One model of the fleet; ``work`` is its size in tokens, ``failures`` are those since it last got further.

    ``after``: keys of members that it is made from: it starts when all of them are done, and fails with them.
    """

    key: str
    work: int
    state: State = "waiting"
    failures: int = 0
    preemptions: int = 0
    reason: str = ""
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fleet:
    """All members, and how often each may fail before it is given up."""

    members: tuple[Member, ...]
    max_failures: int

    def member(self, key: str) -> Member:
        """The member with this key."""
        return next(member for member in self.members if member.key == key)

    def next_to_start(self, free_slots: int) -> list[str]:
        """Keys to start now, of those that wait for no other: the largest first keeps the last finisher early."""
        # The sort is stable: equal ones keep the order of the plan.
        waiting = sorted(self._ready(), key=lambda m: -m.work)
        return [member.key for member in waiting[: max(0, free_slots)]]

    def started(self, key: str) -> Fleet:
        """The member now runs."""
        return self._with(replace(self.member(key), state="running"))

    def done(self, key: str) -> Fleet:
        """The member has finished."""
        return self._with(replace(self.member(key), state="done"))

    def failed(self, key: str, reason: str, try_again: bool = True, got_further: bool = False) -> Fleet:
        """The member's run ended with an error; it waits for another try, or is given up as hopeless or too often.

        got_further: whether the run saved something new. Machines may go as often as they like as long as it does.
        """
        old = self.member(key)
        failures = 1 if got_further else old.failures + 1
        state: State = "waiting" if try_again and failures <= self.max_failures else "failed"
        fleet = self._with(replace(old, state=state, failures=failures, reason=reason))
        return fleet._without_hope(key) if state == "failed" else fleet

    def preempted(self, key: str) -> Fleet:
        """The member's machine went away; it waits, uncharged."""
        old = self.member(key)
        return self._with(replace(old, state="waiting", preemptions=old.preemptions + 1))

    def taken(self, key: str) -> Fleet:
        """Another run trains the member; it waits for that, uncharged."""
        return self._with(replace(self.member(key), state="waiting"))

    @property
    def is_over(self) -> bool:
        """Whether nothing runs or waits any more."""
        return not self.unfinished

    @property
    def unfinished(self) -> int:
        """How many run or wait."""
        return sum(member.state in ("waiting", "running") for member in self.members)

    @property
    def able(self) -> int:
        """How many run, or could if there were room."""
        return len(self._ready()) + sum(member.state == "running" for member in self.members)

    def given_up(self) -> list[Member]:
        """Members that failed for good."""
        return [member for member in self.members if member.state == "failed"]

    def _ready(self) -> list[Member]:
        done = {member.key for member in self.members if member.state == "done"}
        return [m for m in self.members if m.state == "waiting" and done.issuperset(m.after)]

    def _without_hope(self, lost: str) -> Fleet:
        """Give up what waits for a member that failed, and what waits for those."""
        fleet = self
        for member in self.members:
            # The newest state: an earlier turn may have given this one up by way of another.
            if lost in member.after and fleet.member(member.key).state == "waiting":
                reason = "what it is made from was not trained"
                fleet = fleet._with(replace(member, state="failed", reason=reason))._without_hope(member.key)
        return fleet

    def _with(self, changed: Member) -> Fleet:
        members = tuple(changed if member.key == changed.key else member for member in self.members)
        return replace(self, members=members)


def plan_fleet(
    work: Sequence[tuple[str, int, bool]],
    max_failures: int,
    preemptions: Mapping[str, int] | None = None,
    parents: Mapping[str, Collection[str]] | None = None,
) -> Fleet:
    """A fleet from (key, tokens of work, already done). preemptions: how often each was preempted before.

    parents: keys that a model is made from; it waits for those that are members.
    """
    before, keys = preemptions or {}, [key for key, *_ in work]
    members = tuple(
        Member(
            key,
            tokens,
            "done" if done else "waiting",
            # Failures are not carried over: to run the command again is how what was given up is tried anew.
            preemptions=before.get(key, 0),
            # A parent that is no member is finished already, or the model's own error says that it is missing.
            after=tuple(other for other in keys if other != key and other in (parents or {}).get(key, ())),
        )
        for key, tokens, done in work
    )
    return Fleet(members, max_failures)
