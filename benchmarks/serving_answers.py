"""What clients of a served run expect, and what they saw; read and written by the process that plays the clients."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

NEAR_TIE = 1e-4
"""Nats between the two most probable tokens below which rounding may decide."""


@dataclass(frozen=True)
class Answer:
    """The expected answer: pieces of text, and the margin with which each was chosen."""

    pieces: Sequence[str]
    margins: Sequence[float]

    def judge(self, told: str) -> str:
        """``right``, ``near tie`` where it leaves the text at a place that rounding decides, or ``wrong``."""
        at = 0
        for piece, margin in zip(self.pieces, self.margins, strict=True):
            if not told.startswith(piece, at):
                return "near tie" if margin < NEAR_TIE else "wrong"
            at += len(piece)
        return "right" if at == len(told) else "wrong"


@dataclass(frozen=True)
class Expected:
    """A pool of prompts (token ids), the answers of each version to them in their order, and tokens of an answer."""

    prompts: Sequence[Sequence[int]]
    answers: Mapping[int, Sequence[Answer]]
    tokens: int

    def write(self, path: Path) -> None:
        """As JSON."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @staticmethod
    def read(path: Path) -> Expected:
        """What ``write`` wrote."""
        kept = json.loads(path.read_text(encoding="utf-8"))
        answers = {int(version): [Answer(**answer) for answer in given] for version, given in kept["answers"].items()}
        return Expected(kept["prompts"], answers, kept["tokens"])


@dataclass
class Tally:
    """What all clients saw. failed: what is neither an answer nor a refusal; seconds: p50 and p99 by what was waited
    for.
    """

    answers: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    seconds: dict[str, dict[str, float]] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """As JSON."""
        path.write_text(json.dumps(vars(self)), encoding="utf-8")

    @staticmethod
    def read(path: Path) -> Tally:
        """What ``write`` wrote."""
        kept = json.loads(path.read_text(encoding="utf-8"))
        return Tally(Counter(kept["answers"]), Counter(kept["statuses"]), kept["failed"], kept["seconds"])
