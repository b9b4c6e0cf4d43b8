"""One expert behind a network: it keeps the pasts of texts that distant engines make, and says when it has lost one.

An engine and an expert are connected by calls that may fail, reach another replica, or find a new process. So every
call for a text is numbered, and an expert goes on only from the call before it; what it does not have is sent again in
full.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from app.ensemble.client import Capacity, ExpertClient, Feed, Reply
from app.ensemble.prompt import PIECE
from app.ensemble.sampling import choose_draft


class Ask(NamedTuple):
    """A feed for the only expert of a host.

    number: of the calls that this caller has made for this text's slot. past: tokens before ``feed.start``, sent when
    the host may not have them; none otherwise.
    """

    number: int
    feed: Feed
    past: Sequence[int] = ()


@dataclass
class _Held:
    slot: int
    number: int
    length: int


class ExpertHost:
    """An expert for distant engines, over a client with that one expert. Not safe for several threads."""

    def __init__(self, client: ExpertClient) -> None:
        """The pasts that were used last stay: as many as the client has slots."""
        assert client.capacity.experts == 1
        self._client = client
        self._held: OrderedDict[tuple[str, int], _Held] = OrderedDict()
        self._free = list(range(client.capacity.slots))

    @property
    def capacity(self) -> Capacity:
        """Of the client."""
        return self._client.capacity

    @torch.inference_mode()
    def run(self, caller: str, asks: Sequence[Ask]) -> list[Reply | None]:
        """Replies in order; None where the past that a feed builds on is not here.

        caller: of the texts' slots. More texts than there are slots are done in turn.
        """
        # With more asks than slots at once, a later one would take the slot of an earlier one before that has run.
        at_once = self._client.capacity.slots
        return [
            reply
            for start in range(0, len(asks), at_once)
            for reply in self._run(caller, asks[start : start + at_once])
        ]

    def _run(self, caller: str, asks: Sequence[Ask]) -> list[Reply | None]:
        feeds = [self._placed(caller, ask) for ask in asks]
        known = [feed for feed in feeds if feed is not None]
        replies = iter(self._answered(known) if known else ())
        return [None if feed is None else next(replies) for feed in feeds]

    def _placed(self, caller: str, ask: Ask) -> Feed | None:
        """The feed in a slot of this host that holds what is before it; None if nothing does."""
        key = (caller, ask.feed.slot)
        held = self._held.get(key)
        # All that stands before the feed came with it, so whatever is held here does not matter.
        fresh = ask.feed.start == len(ask.past)
        # A gap in the numbers: another replica answered in between, and its tokens are not in this past.
        if not fresh and (held is None or held.number != ask.number - 1 or held.length < ask.feed.start):
            return None
        if held is None:
            held = _Held(self._slot(), 0, 0)
        self._held[key] = held
        self._held.move_to_end(key)
        for start in range(0, len(ask.past), PIECE):
            self._client.extend([Feed(held.slot, 0, ask.past[start : start + PIECE], start, rows=0)])
        held.number = ask.number
        held.length = ask.feed.start + len(ask.feed.tokens)
        if ask.feed.drafting is not None:
            held.length += len(ask.feed.drafting.numbers) - 1
        return ask.feed._replace(slot=held.slot, expert=0)

    def _slot(self) -> int:
        if self._free:
            return self._free.pop()
        # Its caller may still need it: the next call for it is answered with None, and the past is sent again.
        _, oldest = self._held.popitem(last=False)
        return oldest.slot

    def _answered(self, feeds: Sequence[Feed]) -> list[Reply]:
        """The feeds in one pass, then the drafts of those that want some, side by side."""
        first = self._client.extend([feed._replace(drafting=None) for feed in feeds])
        drafts = [_Ahead(feed, reply) for feed, reply in zip(feeds, first, strict=True) if feed.drafting is not None]
        while going := [one for one in drafts if one.unfinished]:
            for one, reply in zip(going, self._client.extend([one.next_feed() for one in going]), strict=True):
                one.take(reply)
        done = iter(drafts)
        return [
            reply if feed.drafting is None else next(done).reply() for feed, reply in zip(feeds, first, strict=True)
        ]


class _Ahead:
    """The tokens that one text's expert drafts behind a feed."""

    def __init__(self, feed: Feed, reply: Reply) -> None:
        assert feed.drafting is not None and feed.rows == 1
        self._feed, self._first, self._drafting = feed, reply, feed.drafting
        self._tokens: list[int] = []
        self._rows: list[torch.Tensor] = []
        self.take(reply)

    @property
    def unfinished(self) -> bool:
        """Whether a further draft is wanted."""
        return len(self._tokens) < len(self._drafting.numbers)

    def next_feed(self) -> Feed:
        """The newest draft."""
        start = self._feed.start + len(self._feed.tokens) + len(self._tokens) - 1
        return Feed(self._feed.slot, 0, self._tokens[-1:], start)

    def take(self, reply: Reply) -> None:
        """Choose a draft from the distribution after the newest token."""
        drafting, row = self._drafting, reply.rows[0]
        seen = drafting.seen.followed_by(self._tokens) if drafting.sampling.adjusts else drafting.seen
        token, _ = choose_draft(row, drafting.sampling, seen, drafting.numbers[len(self._tokens)])
        self._tokens.append(token)
        self._rows.append(row)

    def reply(self) -> Reply:
        """With all drafts."""
        return Reply(torch.stack(self._rows), self._first.scores, self._tokens)
