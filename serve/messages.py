"""What crosses between the HTTP side and a replica of the models: plain records, so that it may be a network apart."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from app.ensemble.engine import Load
from app.ensemble.requests import FinishReason
from app.ensemble.sampling import Sampling


@dataclass(frozen=True)
class Conversation:
    """Turns with ``role`` and ``content``, for the tokenizer's chat template."""

    turns: Sequence[Mapping[str, str]]


Prompt = str | tuple[int, ...] | Conversation
"""Text, which gets the start token; token ids, which are taken as they are; or turns of a chat."""


@dataclass(frozen=True)
class Mixing:
    """How one request wants the experts mixed; None is the run's.

    experts: those that take part, by name; fixed: the weight of each of them before the first token.
    """

    language: str | None = None
    weighting: str | None = None
    temperature: float | None = None
    top_m: int | None = None
    experts: tuple[str, ...] | None = None
    fixed: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Progress:
    """What has been delivered of a text: the ids of its tokens, and whether its echoed prompt has been."""

    made: tuple[int, ...] = ()
    prompt: bool = False


@dataclass(frozen=True)
class Job:
    """One HTTP request: each prompt is continued ``sampling``-wise n times; fields as in ``app.ensemble.requests``.

    fitted: ``sampling.max_tokens`` gives way to what the context has room for behind a prompt. apart: each prompt has
    random numbers of its own, derived from ``sampling.seed``; else all have the same. whole: nothing of the answer is
    shown before its end. release: the only one that may answer, None for any. going_on: of a job that a replica has
    begun and lost, the texts that have not ended, by their choice; others are left out of the answer. None: all of
    them, from their beginning. accepted: a replica that was lost had taken it, so no other refuses it for want of room.
    """

    model: str
    prompts: Sequence[Prompt]
    sampling: Sampling
    stops: Sequence[str] = ()
    stop_ids: Sequence[int] = ()
    n: int = 1
    logprobs: int | None = None
    echo: bool = False
    mixing: Mixing = field(default_factory=Mixing)
    fitted: bool = False
    apart: bool = False
    whole: bool = False
    release: str | None = None
    going_on: Mapping[int, Progress] | None = None
    accepted: bool = False


@dataclass(frozen=True)
class Token:
    """A token of a text: id, its own name, the text that became complete with it, what it was drawn or scored with.

    log_prob: nats under the mixture; top: names and log-probabilities of the most probable tokens, this one included
    with the same value. weights: of the job's experts, NaN where the token was not scored. raw: by name, the bytes of
    text that a token stands for, where they are not those of its name.
    """

    id: int
    name: str
    piece: str
    log_prob: float | None
    top: Mapping[str, float]
    weights: Sequence[float]
    raw: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class TextLanguage:
    """The language of a text, and where that comes from; all None: not known.

    confidence: 0 to 1, of one that was identified. weighs: whether the experts' weights depend on it.
    """

    code: str | None = None
    source: Literal["given", "identified"] | None = None
    confidence: float | None = None
    weighs: bool = False


@dataclass(frozen=True)
class Accepted:
    """The first event of a job: it will be answered. prompt_tokens: of each prompt, the start token included.

    experts: names, in the order of all weights that follow; weighting: the rule, None for a single model. languages:
    of each prompt; none for a single model. version: of the run's ensemble; release: the one that answers. A second
    ``Accepted`` takes back all that came before it.
    """

    prompt_tokens: Sequence[int]
    experts: Sequence[str]
    weighting: str | None
    drop_below: float
    languages: Sequence[TextLanguage] = ()
    version: int = 0
    release: str = ""


@dataclass(frozen=True)
class Effort:
    """What a text took, as in ``app.ensemble.requests.Work``; weights: their means over its tokens, an end included.

    Of a text that another replica took over, passes and drafts are those of the last replica.
    """

    made: int
    passes: int
    drafted: int
    kept: int
    weights: Sequence[float]


@dataclass(frozen=True)
class Piece:
    """News of one text: choice i of prompt p has number p * n + i.

    finish: None while it goes on; effort: of the whole text, with its last piece.
    """

    choice: int
    tokens: Sequence[Token]
    prompt: Sequence[Token] = ()
    finish: FinishReason | None = None
    effort: Effort | None = None


@dataclass(frozen=True)
class Batch:
    """All that is new since the last batch, and how busy the replica is."""

    events: Sequence[Accepted | Piece]
    replica: str
    load: Load


@dataclass(frozen=True)
class ModelInfo:
    """One model that may be asked for."""

    name: str
    kind: Literal["ensemble", "expert", "single"]
    languages: Sequence[str] = ()


@dataclass(frozen=True)
class Description:
    """What a replica serves. vocabulary: tokens; context: of a text, the start token included; loaded_at: seconds.

    release: equal for replicas that give equal texts. replica, load: who says so, and how busy it is.
    """

    run: str
    version: int
    release: str
    models: Sequence[ModelInfo]
    vocabulary: int
    context: int
    slots: int
    weighting: str
    loaded_at: int
    tokenizer: Mapping[str, str | None]
    replica: str
    load: Load


class Backend(Protocol):
    """The models as the HTTP side sees them: in this process, or behind a handle."""

    async def describe(self) -> Description:
        """What is served, once it is loaded and warm."""

    def answer(self, job: Job) -> AsyncGenerator[Batch]:
        """``Accepted``, then the pieces of all texts. Closing it ends the work. Raises XelmErrors before and within."""

    async def encode(self, text: str, with_start: bool) -> list[int]:
        """Token ids of a text; that token's alone where the text is one of the special tokens of the description."""

    async def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids."""
