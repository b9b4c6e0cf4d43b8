"""Requests run to their end where nobody waits for single tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.ensemble.client import ExpertClient
from app.ensemble.engine import Engine
from app.ensemble.requests import FinishReason, Request


@dataclass(frozen=True)
class Completion:
    """The text that was made, why it ended (``stop`` where the model ended it, else ``length``), and its tokens."""

    text: str
    finish: FinishReason
    tokens: int


def complete(client: ExpertClient, requests: Sequence[Request]) -> list[Completion]:
    """What becomes of each request of one text, in order. Raises ServingError for one that cannot be met."""
    engine = Engine(client)
    place = {engine.submit(request): number for number, request in enumerate(requests)}
    texts, tokens = [""] * len(requests), [0] * len(requests)
    ends: dict[int, FinishReason] = {}
    while len(ends) < len(requests):
        for update in engine.step():
            if update.error is not None:
                raise update.error
            number = place[update.request]
            texts[number] += update.text
            tokens[number] += len(update.steps)
            if update.finish is not None:
                ends[number] = update.finish
    return [Completion(text, ends[number], tokens[number]) for number, text in enumerate(texts)]
