"""From the pieces of texts to answers in OpenAI's shapes: whole, or chunk by chunk."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from serve.messages import Accepted, Piece, TextLanguage, Token

Shape = Literal["completion", "chat", "chat.chunk"]
JsonDict = dict[str, Any]
_PREFIX = {"completion": "cmpl-", "chat": "chatcmpl-", "chat.chunk": "chatcmpl-"}
_OBJECT = {"completion": "text_completion", "chat": "chat.completion", "chat.chunk": "chat.completion.chunk"}


@dataclass
class _Text:
    """One text so far. offset: characters given out; made: tokens, once it has ended."""

    begun: bool = False
    offset: int = 0
    made: int = 0


@dataclass
class Answer:
    """Shapes one answer. logprobs: whether they were asked for; per_token: whether weights of tokens were."""

    accepted: Accepted
    model: str
    shape: Shape
    logprobs: bool
    per_token: bool
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
        if piece.effort is not None:
            text.made = piece.effort.made
        found: JsonDict = {"index": piece.choice, **self._said("".join(token.piece for token in tokens), text.begun)}
        found["logprobs"] = self._logprobs(tokens, start) if self.logprobs else None
        found["finish_reason"] = piece.finish
        text.begun = True
        if xelm := self._xelm(tokens, piece):
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
        # OpenAI's chunks name the role once, in the first of a text.
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

    def _xelm(self, tokens: Sequence[Token], piece: Piece) -> JsonDict:
        names, effort = self.accepted.experts, piece.effort
        found: JsonDict = {}
        if self.per_token:
            found["tokens"] = [token.name for token in tokens]
            found["pieces"] = [token.piece for token in tokens]
            # JSON has no NaN.
            found["token_weights"] = [[None if math.isnan(w) else w for w in token.weights] for token in tokens]
        if self.per_token or effort is not None:
            found["experts"] = list(names)
        if effort is not None:
            found["weights"] = dict(zip(names, effort.weights, strict=True)) if effort.weights else None
            found["weighting"] = self.accepted.weighting
            found |= self._language(piece.choice)
            found["drop_below"] = self.accepted.drop_below
            found["version"] = self.accepted.version
            found["drafted"], found["kept"], found["passes"] = effort.drafted, effort.kept, effort.passes
        return found

    def _language(self, choice: int) -> JsonDict:
        """Of the prompt that the text belongs to."""
        spoken, prompts = TextLanguage(), len(self.accepted.prompt_tokens)
        if self.accepted.languages:
            # Choice i of prompt p has number p * n + i, and there are n times as many texts as prompts.
            spoken = self.accepted.languages[choice * prompts // len(self.texts)]
        return {
            "language": spoken.code,
            "language_from": spoken.source,
            "language_confidence": spoken.confidence,
            "language_weighs": spoken.weighs,
        }


def new_answer(accepted: Accepted, n: int, model: str, shape: Shape, logprobs: bool, per_token: bool) -> Answer:
    """The answer of a job that was accepted, of which nothing is known yet."""
    texts = [_Text() for _ in range(len(accepted.prompt_tokens) * n)]
    return Answer(accepted, model, shape, logprobs, per_token, texts)


def joined(pieces: Iterable[Piece], count: int) -> list[Piece]:
    """The pieces of ``count`` texts, one for each text, in order."""
    tokens: list[list[Token]] = [[] for _ in range(count)]
    prompts: list[list[Token]] = [[] for _ in range(count)]
    last: dict[int, Piece] = {}
    for piece in pieces:
        tokens[piece.choice] += piece.tokens
        prompts[piece.choice] += piece.prompt
        last[piece.choice] = piece
    return [Piece(i, tokens[i], prompts[i], last[i].finish, last[i].effort) for i in range(count)]


def _chat_logprob(token: Token) -> JsonDict:
    top = [_named(token, name, value) for name, value in token.top.items()]
    return {**_named(token, token.name, token.log_prob), "top_logprobs": top}


def _named(token: Token, name: str, value: float | None) -> JsonDict:
    # A client puts characters together from them that came as several tokens.
    return {"token": name, "logprob": value, "bytes": list(token.raw.get(name, name.encode()))}
