"""From the pieces of texts to answers in OpenAI's shapes: whole, or chunk by chunk."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from app.ensemble.requests import FinishReason, Work
from serve.messages import Accepted, Piece, Token

Shape = Literal["completion", "chat", "chat.chunk"]
JsonDict = dict[str, Any]
_PREFIX = {"completion": "cmpl-", "chat": "chatcmpl-", "chat.chunk": "chatcmpl-"}
_OBJECT = {"completion": "text_completion", "chat": "chat.completion", "chat.chunk": "chat.completion.chunk"}


@dataclass
class _Text:
    """One text so far. offset: characters given out; total: sum of the weights over ``counted`` tokens."""

    begun: bool = False
    offset: int = 0
    made: int = 0
    total: list[float] = field(default_factory=list)
    counted: int = 0
    work: Work = field(default_factory=Work)


@dataclass
class Answer:
    """Shapes one answer. logprobs: whether they were asked for; per_token: whether weights of tokens were."""

    accepted: Accepted
    model: str
    shape: Shape
    logprobs: bool
    per_token: bool
    language: str | None
    texts: list[_Text]
    identity: str = ""
    created: int = 0

    def __post_init__(self) -> None:
        self.identity = _PREFIX[self.shape] + uuid.uuid4().hex
        self.created = int(time.time())

    def choice(self, piece: Piece) -> JsonDict:
        """What is new of one text, as a choice. Pieces of a text must come in order."""
        text = self.texts[piece.choice]
        tokens = [*piece.prompt, *piece.tokens]
        start = text.offset
        text.offset += sum(len(token.piece) for token in tokens)
        text.work = piece.work
        text.made = piece.work.made
        for token in piece.tokens:
            text.total = [a + b for a, b in zip(text.total or [0.0] * len(token.weights), token.weights, strict=True)]
            text.counted += 1
        found: JsonDict = {"index": piece.choice, **self._said("".join(token.piece for token in tokens), text.begun)}
        found["logprobs"] = self._logprobs(tokens, start) if self.logprobs else None
        found["finish_reason"] = piece.finish
        text.begun = True
        if xelm := self._xelm(text, tokens, piece.finish):
            found["xelm"] = xelm
        return found

    def body(self, choices: Sequence[JsonDict], usage: JsonDict | None = None) -> JsonDict:
        """The object around choices; the same id and time for all of an answer."""
        whole: JsonDict = {
            "id": self.identity,
            "object": _OBJECT[self.shape],
            "created": self.created,
            "model": self.model,
            "choices": list(choices),
        }
        return {**whole, "usage": usage} if usage is not None else whole

    def usage(self) -> JsonDict:
        """Tokens of all prompts, of all texts made, and both."""
        prompt = sum(self.accepted.prompt_tokens)
        made = sum(text.made for text in self.texts)
        return {"prompt_tokens": prompt, "completion_tokens": made, "total_tokens": prompt + made}

    def _said(self, text: str, begun: bool) -> JsonDict:
        if self.shape == "completion":
            return {"text": text}
        if self.shape == "chat":
            return {"message": {"role": "assistant", "content": text, "refusal": None}}
        return {"delta": {"content": text, **({} if begun else {"role": "assistant"})}}

    def _logprobs(self, tokens: Sequence[Token], start: int) -> JsonDict:
        if self.shape != "completion":
            return {"content": [_chat_logprob(token) for token in tokens], "refusal": None}
        offsets = []
        for token in tokens:
            offsets.append(start)
            start += len(token.piece)
        return {
            "tokens": [token.name for token in tokens],
            "token_logprobs": [token.log_prob for token in tokens],
            "top_logprobs": [token.top or None for token in tokens],
            "text_offset": offsets,
        }

    def _xelm(self, text: _Text, tokens: Sequence[Token], finish: FinishReason | None) -> JsonDict:
        names = self.accepted.experts
        found: JsonDict = {}
        if self.per_token:
            found["tokens"] = [token.name for token in tokens]
            found["pieces"] = [token.piece for token in tokens]
            found["token_weights"] = [[None if math.isnan(w) else w for w in token.weights] for token in tokens]
        if self.per_token or finish:
            found["experts"] = list(names)
        if finish:
            means = [total / text.counted for total in text.total] if text.counted else None
            found["weights"] = None if means is None else dict(zip(names, means, strict=True))
            found["weighting"] = self.accepted.weighting
            found["language"] = self.language
            found["drop_below"] = self.accepted.drop_below
            found["drafted"], found["kept"], found["passes"] = text.work.drafted, text.work.kept, text.work.passes
        return found


def new_answer(
    accepted: Accepted, n: int, model: str, shape: Shape, logprobs: bool, per_token: bool, language: str | None
) -> Answer:
    """The answer of a job that was accepted, of which nothing is known yet."""
    texts = [_Text() for _ in range(len(accepted.prompt_tokens) * n)]
    return Answer(accepted, model, shape, logprobs, per_token, language, texts)


def joined(pieces: Iterable[Piece], count: int) -> list[Piece]:
    """The pieces of ``count`` texts, one for each text, in order."""
    tokens: list[list[Token]] = [[] for _ in range(count)]
    prompts: list[list[Token]] = [[] for _ in range(count)]
    last: dict[int, Piece] = {}
    for piece in pieces:
        tokens[piece.choice] += piece.tokens
        prompts[piece.choice] += piece.prompt
        last[piece.choice] = piece
    return [Piece(i, tokens[i], prompts[i], last[i].finish, last[i].work) for i in range(count)]


def _chat_logprob(token: Token) -> JsonDict:
    top = [_named(name, value) for name, value in token.top.items()]
    return {**_named(token.name, token.log_prob), "top_logprobs": top}


def _named(name: str, value: float | None) -> JsonDict:
    return {"token": name, "logprob": value, "bytes": list(name.encode())}
