"""What is asked of the engine, and what it answers bit by bit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from app.core.records import FloatArray, IntArray
from app.ensemble.sampling import Sampling
from app.ensemble.text_output import Decoder, Step

FinishReason = Literal["stop", "length"]


class Weigher(Protocol):
    """The weights of the n experts of one request; see ``app.ensemble.routing.RequestRouter``."""

    @property
    def needs_scores(self) -> bool:
        """Whether weights depend on how probable experts held the tokens so far, those of the prompt included."""

    def weights(self) -> FloatArray:
        """(n,) of the next token, summing to 1."""

    def running(self) -> NDArray[np.bool_]:
        """(n,) experts that must run for the next token."""

    def may_run(self) -> NDArray[np.bool_]:
        """(n,) experts that must run for the next token or, where weights need scores, may have to for a later one."""

    def missed(self) -> IntArray:
        """(n,) newest tokens that each expert must score (``catch_up``) before anything else is asked."""

    def catch_up(self, expert: int, log_probs: FloatArray) -> None:
        """An expert has scored the tokens that it ``missed``."""

    def observe(self, text: str, token: int, log_probs: FloatArray) -> None:
        """A token was added, and its ``text``. log_probs: (n,) under each expert, NaN where it did not run."""


@dataclass(frozen=True)
class Request:
    """One prompt to continue, ``n`` times.

    prompt: ids, the start token first. experts: the client's experts that take part, in the order of the weigher's
    weights. weigher: makes one for a text that begins with some tokens, whose scores it has not seen.
    decoder: makes a fresh one. stop_ids end a text and are no
    part of it. logprobs: alternatives reported for each token, None for no log-probabilities at all. echo: the prompt
    is part of the answer. made: tokens made before, of a request that is replayed: they count as made, and are not
    reported again. first: number of its first choice, on which random numbers depend.

    Mechanisms that leave the distribution as it is may be turned off: ``speculate`` and ``one_expert``.
    """

    prompt: Sequence[int]
    experts: Sequence[int]
    weigher: Callable[[Sequence[int]], Weigher]
    decoder: Callable[[], Decoder]
    sampling: Sampling = field(default_factory=Sampling)
    stops: Sequence[str] = ()
    stop_ids: frozenset[int] = frozenset()
    n: int = 1
    logprobs: int | None = None
    echo: bool = False
    made: Sequence[int] = ()
    first: int = 0
    speculate: bool = True
    one_expert: bool = True


@dataclass
class Work:
    """What a text has taken so far.

    made: tokens; a stop id is none. weights: (n,) each token was drawn with, the stop id too. passes: of an expert;
    fed: tokens in them. drafted, kept: drafts that were tested, and those of them that were kept. cycles: times the
    mixture was asked.
    """

    made: int = 0
    weights: list[FloatArray] = field(default_factory=list)
    passes: int = 0
    fed: int = 0
    drafted: int = 0
    kept: int = 0
    cycles: int = 0


@dataclass(frozen=True)
class Update:
    """News of one text of a request. ``finish`` is None while it goes on; ``error`` says why it cannot.

    prompt: the scored prompt, once, where ``echo`` is asked for.
    """

    request: int
    choice: int
    steps: Sequence[Step]
    prompt: Sequence[Step] = ()
    finish: FinishReason | None = None
    error: Exception | None = None
    work: Work = field(default_factory=Work)

    @property
    def text(self) -> str:
        """The text that is new."""
        return "".join(step.piece for step in self.steps)
