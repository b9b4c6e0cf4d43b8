"""The engine: many requests, one object that is stepped. No threads, no clock, no network.

Each text is a program (``decoding``) that asks for passes of experts. A step admits who fits, collects what the
running programs ask for, has the client do it in one batch, and sends each its replies. So requests of different
lengths join and leave at every step, and none sees the others.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence as Items
from dataclasses import dataclass

import torch

from app.core.errors import ServingError
from app.ensemble.client import ExpertClient, Feed, require_room
from app.ensemble.decoding import decode
from app.ensemble.prompt import PIECE, Program
from app.ensemble.requests import Request, Update
from app.ensemble.scheduler import Slots, Waiting, chosen
from app.ensemble.sequence import Sequence
from app.ensemble.text_output import Step


@dataclass(frozen=True)
class Limits:
    """waiting: texts that wait for a slot; read_per_step: tokens of prompts, over experts, fed in one step; n: texts of
    one request.
    """

    waiting: int = 256
    read_per_step: int = 4 * PIECE
    n: int = 16


@dataclass(frozen=True)
class Load:
    """What the engine has to do: texts running, texts waiting, slots in all."""

    running: int
    waiting: int
    slots: int


@dataclass(frozen=True)
class _Wanted:
    number: int
    request: Request
    choice: int
    seed: int


@dataclass
class _Running:
    wanted: _Wanted
    sequence: Sequence
    program: Program
    ask: list[Feed]
    prompt_sent: bool = False


class Engine:
    """Continuous batching over an ExpertClient. Not safe for several threads: one steps it, submits and cancels."""

    def __init__(self, client: ExpertClient, limits: Limits | None = None) -> None:
        self._client = client
        self._limits = limits or Limits()
        self._slots = Slots(client.capacity.slots)
        self._waiting: Waiting[_Wanted] = Waiting(self._limits.waiting)
        self._running: list[_Running] = []
        self._submitted = 0

    @property
    def load(self) -> Load:
        """What there is to do."""
        return Load(len(self._running), len(self._waiting), self._client.capacity.slots)

    def submit(self, request: Request, may_refuse: bool = True) -> int:
        """Take a request in; its number, which updates carry.

        Raises ServingError for one that can never be served, with the limit; Overloaded when too many wait, if it
        ``may_refuse``.
        """
        self._require_possible(request)
        if may_refuse:
            self._waiting.require_room(request.n, self._slots.free)
        seed = request.sampling.seed
        # A request without a seed gets one all the same: its choices are told apart by it.
        seed = secrets.randbits(62) if seed is None else seed
        number, self._submitted = self._submitted, self._submitted + 1
        for choice in range(request.first, request.first + request.n):
            self._waiting.add(_Wanted(number, request, choice, seed))
        return number

    def cancel(self, number: int) -> None:
        """Forget a request: its slots are free at once. Nothing happens if it has ended."""
        self._waiting.remove(lambda wanted: wanted.number == number)
        # A list of its own: _leave takes entries out of the one that would be walked.
        for one in [one for one in self._running if one.wanted.number == number]:
            self._leave(one)

    @torch.inference_mode()
    def step(self) -> list[Update]:
        """Do one batch of passes; what is new of each text that it moved on. Empty when there is nothing to do."""
        updates = self._admit()
        served = chosen(((one, one.ask) for one in self._running), self._limits.read_per_step)
        if not served:
            return updates
        # Not guarded as in _go_on: an expert that fails is a fault of all texts, and the caller decides.
        replies = iter(self._client.extend([feed for one in served for feed in one.ask]))
        for one in served:
            updates += self._go_on(one, [next(replies) for _ in one.ask])
        return updates

    def _admit(self) -> list[Update]:
        updates: list[Update] = []
        while self._slots.free and len(self._waiting):
            wanted = self._waiting.take()
            slot = self._slots.take()
            try:
                sequence = Sequence(wanted.request, wanted.choice, wanted.seed, slot, self._client.capacity.vocab_size)
            # A weigher that cannot start, also by a bug, is the fault of one text; its slot must not be lost with it.
            except Exception as error:
                self._slots.give_back(slot)
                updates.append(Update(wanted.number, wanted.choice, (), error=error))
                continue
            one = _Running(wanted, sequence, decode(sequence, self._client.costs, self._client.drafts_ahead), [])
            self._running.append(one)
            updates += self._go_on(one, None)
        return updates

    def _go_on(self, one: _Running, replies: object) -> list[Update]:
        """Send a program its replies (None starts it) and see what is new."""
        sequence, error = one.sequence, None
        try:
            one.ask = one.program.send(replies)  # type: ignore[arg-type]
        except StopIteration:
            one.ask = []
        except Exception as problem:  # also a bug: it is this text's alone, and the others go on
            one.ask, error = [], problem
        # Also after an error: text that was made before it is still delivered.
        steps, sequence.ready = sequence.ready, []
        prompt: Items[Step] = ()
        if sequence.prompt_steps and not one.prompt_sent:
            prompt, one.prompt_sent = sequence.prompt_steps, True
        if not one.ask:
            self._leave(one)
        elif not steps and not prompt:
            return []
        finish = None if one.ask or error else sequence.finish
        return [Update(one.wanted.number, one.wanted.choice, steps, prompt, finish, error, sequence.work)]

    def _leave(self, one: _Running) -> None:
        self._running.remove(one)
        one.program.close()
        self._client.drop(one.sequence.slot)
        self._slots.give_back(one.sequence.slot)

    def _require_possible(self, request: Request) -> None:
        capacity = self._client.capacity
        request.sampling.require_valid(capacity.vocab_size)
        if not request.prompt:
            raise ServingError("the prompt holds no token; give at least one")
        require_room(capacity, len(request.prompt), request.sampling.max_tokens)
        # More than there are slots may wait for one another; what never fits the queue would be refused for ever.
        most = min(self._limits.n, capacity.slots + self._limits.waiting)
        if not 1 <= request.n <= most:
            raise ServingError(f"n is {request.n}; choose 1 to {most} texts a request")
