"""Text of a sequence as it may be shown: whole characters only, and nothing that may still become a stop string."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from app.core.records import FloatArray


class Decoder(Protocol):
    """Incremental text of one sequence."""

    def step(self, token: int) -> str:
        """Text that is complete with this token; empty while a character is not."""

    def flush(self) -> str:
        """What is left: bytes that never became a character."""


@dataclass
class Step:
    """One token of a text. A prompt's first token has no log-probability, nor has one drawn from a single expert.

    log_prob: nats under the mixture, before temperature and penalties; top: the most probable tokens and theirs;
    weights: (k,) that the token was drawn or scored with; piece: text that became complete with it.
    """

    token: int
    weights: FloatArray
    log_prob: float | None = None
    top: list[tuple[int, float]] = field(default_factory=list)
    piece: str = ""


class TextOutput:
    """Takes steps in, gives them out once their text is certain. ``stopped`` is true after a stop string."""

    def __init__(self, decoder: Decoder, stops: Sequence[str]) -> None:
        self._decoder = decoder
        self._stops = tuple(stops)
        self._held: list[Step] = []
        self.stopped = False

    def push(self, step: Step) -> str:
        """One more token; its text, also where it is held back. After a stop string nothing more may be pushed."""
        step.piece = self._decoder.step(step.token)
        self._held.append(step)
        if step.piece and self._stops:
            self._cut_at_stop()
        return step.piece

    def release(self) -> list[Step]:
        """Steps whose text no stop string can begin in, up to the last whole character; pieces join to the text."""
        if self.stopped:
            ready, self._held = self._held, []
            return ready
        certain = self._certain() if self._stops else sum(len(step.piece) for step in self._held)
        end, count = 0, 0
        for place, step in enumerate(self._held):
            end += len(step.piece)
            # A token without text is part of a character; it goes out with the one that completes it.
            if step.piece and end <= certain:
                count = place + 1
        ready, self._held = self._held[:count], self._held[count:]
        return ready

    def finish(self) -> list[Step]:
        """All that is held, with what the decoder has left, when the text has ended for another reason."""
        if not self.stopped and self._held:
            self._held[-1].piece += self._decoder.flush()
        ready, self._held = self._held, []
        return ready

    def _cut_at_stop(self) -> None:
        text = "".join(step.piece for step in self._held)
        found = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        if not found:
            return
        self.stopped = True
        end, kept = 0, []
        for step in self._held:
            # Tokens that lie wholly behind the cut are no part of the text and are not reported.
            if end < min(found):
                step.piece = step.piece[: min(found) - end]
                kept.append(step)
            end += len(step.piece)
        self._held = kept

    def _certain(self) -> int:
        """Characters of the held text before the longest end of it that begins a stop string."""
        text = "".join(step.piece for step in self._held)
        # A whole stop string would have been found, so only its beginnings can stand at the end.
        longest = max(map(len, self._stops)) - 1
        for place in range(max(0, len(text) - longest), len(text)):
            if any(stop.startswith(text[place:]) for stop in self._stops):
                return place
        return len(text)
