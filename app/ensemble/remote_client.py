"""An ExpertClient over experts elsewhere: one call to each expert that a step needs, all of them at the same time.

A call that fails is made again, with everything that the expert has to know of the text, until it is answered: so an
expert that is replaced costs a delay, and not a token. All feeds of a call wait for the last answer.
"""

from __future__ import annotations

import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from app.ensemble.client import Capacity, Feed, Reply
from app.ensemble.expert_host import Ask
from app.ensemble.speculation import PassCosts

PATIENCE_S = 120.0
"""How long an expert may be away: time to start a process and load a model."""
# A call to a process that is gone may fail at once: without a pause the loop would spin until the expert is back.
_PAUSE_S = 0.5
DISTANT = PassCosts(per_expert=1.0, per_token=0.05)
"""The experts of a pass run at the same time, each elsewhere; a call costs more than the tokens in it."""


class Unreachable(Exception):
    """A call was not answered, and may be made again: the expert's process has died or is not there yet."""


class Gone(Unreachable):
    """The expert is served no more."""


class Link(Protocol):
    """The way to one expert."""

    def send(self, caller: str, asks: Sequence[Ask]) -> Callable[[], list[Reply | None]]:
        """Send a call; what is returned waits for its replies (``ExpertHost.run``) and raises Unreachable."""


@dataclass
class _Past:
    """What an expert has been fed in a slot, and the calls made for the slot. sure: whether it surely has it."""

    tokens: list[int] = field(default_factory=list)
    number: int = 0
    sure: bool = True


class RemoteClient:
    """See ExpertClient. Experts are those of the links, in order."""

    drafts_ahead = True
    costs = DISTANT

    def __init__(
        self, links: Sequence[Link], names: Sequence[str], capacity: Capacity, patience: float = PATIENCE_S
    ) -> None:
        """names: of the experts, for messages; capacity: of each expert's host for this caller; patience: seconds."""
        self.capacity = capacity
        self._links, self._names, self._patience = links, names, patience
        # Every mixer numbers its slots from 0: hosts must tell the pasts of one from those of another.
        self._caller = uuid.uuid4().hex
        self._pasts: dict[tuple[int, int], _Past] = {}

    def extend(self, feeds: Sequence[Feed]) -> list[Reply]:
        """See ExpertClient. Raises Unreachable if an expert is away for longer than ``patience``, or Gone."""
        for feed in feeds:
            past = self._pasts.setdefault((feed.slot, feed.expert), _Past())
            # Drafts that were not kept: sent as part of a past they would give another distribution.
            del past.tokens[feed.start :]
        replies: dict[int, Reply] = {}
        deadline = time.monotonic() + self._patience
        while missing := [place for place in range(len(feeds)) if place not in replies]:
            lost = self._send(feeds, missing, replies)
            if lost and time.monotonic() > deadline:
                names = ", ".join(sorted(lost))
                raise Unreachable(f"{names} could not be reached for {self._patience:g} s; see serve status")
            if lost:
                time.sleep(_PAUSE_S)
        for place, feed in enumerate(feeds):
            # Only now: until all have answered, a repeated call has to send what stands before its feed, and no more.
            self._pasts[feed.slot, feed.expert].tokens += [*feed.tokens, *replies[place].drafted[:-1]]
        return [replies[place] for place in range(len(feeds))]

    def drop(self, slot: int) -> None:
        """See ExpertClient; the experts forget a past when they need its room."""
        for (of, _), past in self._pasts.items():
            if of == slot:
                # The number goes on: a replica may still hold the text before, and a number of its own would fit it.
                past.tokens, past.sure = [], True

    def _send(self, feeds: Sequence[Feed], places: Sequence[int], replies: dict[int, Reply]) -> set[str]:
        """One round of calls; the names of the experts that did not answer."""
        by_expert: dict[int, list[int]] = defaultdict(list)
        for place in places:
            by_expert[feeds[place].expert].append(place)
        # All are sent before one is waited for, so that a step takes as long as its slowest expert.
        waits = [
            (expert, of, self._links[expert].send(self._caller, [self._ask(feeds[place]) for place in of]))
            for expert, of in by_expert.items()
        ]
        lost = set()
        for expert, of, wait in waits:
            try:
                answers = wait()
            # Not waited for: a deployment that was taken away does not come back.
            except Gone:
                raise
            except Unreachable:
                lost.add(self._names[expert])
                answers = [None] * len(of)
            for place, answer in zip(of, answers, strict=True):
                # A lost reply does not say whether the call was run, so the next one brings the whole past.
                self._pasts[feeds[place].slot, expert].sure = answer is not None
                if answer is not None:
                    replies[place] = answer
        return lost

    def _ask(self, feed: Feed) -> Ask:
        past = self._pasts[feed.slot, feed.expert]
        past.number += 1
        return Ask(past.number, feed, () if past.sure else tuple(past.tokens))
