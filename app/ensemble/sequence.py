"""One text that is being made: its tokens, what each expert has read of them, and what may be shown.

How it is made is told in ``decoding``, as a program that asks for passes; this is the state that the program works on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence as Items

import torch

from app.core.records import FloatArray
from app.ensemble.client import Drafting, Feed
from app.ensemble.requests import FinishReason, Request, Work
from app.ensemble.sampling import Seen, seed_of_choice, uniform
from app.ensemble.speculation import Acceptance
from app.ensemble.text_output import Step, TextOutput


class Sequence:
    """The state of one choice of a request in a slot. Experts are counted by their place in ``request.experts``."""

    def __init__(self, request: Request, choice: int, seed: int, slot: int, vocab_size: int) -> None:
        """seed: the request's; choices of a request differ by their number."""
        self.request = request
        self.slot, self.vocab_size = slot, vocab_size
        self.tokens = [*request.prompt, *request.made]
        # The start token alone: the rest is shown to it as its scores become known (read_prompt).
        self.weigher = request.weigher(self.tokens[:1])
        self.acceptance = Acceptance()
        self.work = Work(made=len(request.made))
        self.finish: FinishReason | None = None
        self.prompt_steps: list[Step] = []
        self.ready: list[Step] = []
        self._seed = seed_of_choice(seed, choice)
        self._read = [0] * len(request.experts)
        self._seen = Seen(request.prompt, request.made)
        decoder = request.decoder()
        # The prompt goes through the decoder as well: a character may begin in it and end in the text.
        self.pieces = [decoder.step(token) for token in self.tokens]
        self._output = TextOutput(decoder, request.stops)
        if self.left == 0:
            self.finish = "length"

    @property
    def left(self) -> int:
        """Tokens that may still be made."""
        return self.request.sampling.max_tokens - self.work.made

    def unread(self, place: int) -> int:
        """Tokens that the expert has not read."""
        return len(self.tokens) - self._read[place]

    def number(self, purpose: str, ahead: int = 0) -> float:
        """The random number of the next token, or of one ``ahead`` of it."""
        # A discarded draft used the number of its place without being tested, so drawing with it again is no bias.
        return uniform(self._seed, purpose, len(self.tokens) + ahead)

    def seen(self, drafts: Items[int]) -> Seen:
        """What penalties look at after ``drafts``."""
        return self._seen.followed_by(drafts) if drafts else self._seen

    def feed(self, place: int, drafts: Items[int] = (), rows: int = 1) -> Feed:
        """What the expert has not read, and drafts behind it; with its newest ``rows`` distributions."""
        start = self._read[place]
        # A drafter has read its own first drafts, so its start may lie behind the tokens that are certain.
        fed = self.tokens[start:] + list(drafts[max(0, start - len(self.tokens)) :])
        return self._note(place, start, fed, rows, ())

    def feed_for_drafts(self, place: int, length: int) -> Feed:
        """What the expert has not read, and behind it ``length`` tokens that it drafts itself (``drafts_ahead``)."""
        numbers = [self.number("token", ahead) for ahead in range(length)]
        feed = self._note(place, self._read[place], self.tokens[self._read[place] :], 1, ())
        self._read[place] += length - 1
        self.work.passes += length - 1
        self.work.fed += length - 1
        sampling = self.request.sampling
        # What no penalty looks at is not sent: the prompt would go over the network in every call.
        return feed._replace(drafting=Drafting(sampling, self._seen if sampling.adjusts else Seen(), numbers))

    def feed_piece(self, place: int, stop: int, scored: bool = False, chances: bool = False) -> Feed:
        """What the expert has not read of the first ``stop`` tokens; the scores of the tokens that follow, and with
        ``chances`` the probabilities of all that might.
        """
        start = self._read[place]
        targets = self.tokens[start + 1 : stop + 1] if scored else ()
        rows = len(targets) if chances else 0
        return self._note(place, start, self.tokens[start:stop], rows, targets)._replace(chances=chances)

    def forget_drafts(self) -> None:
        """What an expert has read of tokens that were not kept does not count; nor is the newest token read yet."""
        # The newest token must be read in the next pass, because its row gives the next distribution.
        known = len(self.tokens) - 1
        self._read = [min(read, known) for read in self._read]

    def append(self, token: int, weights: FloatArray, scores: FloatArray, top: list[tuple[int, float]]) -> None:
        """A token was made. scores: (n,) log-probabilities under each expert, NaN where it did not run.

        Where an expert with weight did not run, the mixture's log-probability is not known.
        """
        self.tokens.append(token)
        self.work.weights.append(weights)
        if token in self.request.stop_ids:
            self.finish = "stop"
        else:
            self.work.made += 1
            step = Step(token, weights, _mixed(scores.tolist(), weights.tolist()), top)
            piece = self._output.push(step)
            if self._output.stopped:
                self.finish = "stop"
            elif self.left == 0:
                self.finish = "length"
        if self.finish is not None:
            self.ready += self._output.release() if self._output.stopped else self._output.finish()
            return
        self.ready += self._output.release()
        self._seen.add(token)
        self.weigher.observe(piece, token, scores)

    def _note(self, place: int, start: int, fed: Items[int], rows: int, targets: Items[int]) -> Feed:
        self._read[place] = start + len(fed)
        self.work.passes += 1
        self.work.fed += len(fed)
        return Feed(self.slot, self.request.experts[place], fed, start, rows, targets)


def _mixed(scores: list[float], weights: list[float]) -> float | None:
    """Log-probability of one token under the mixture; None where an expert with weight did not score it.

    ``mixing.mix_log_probs`` for a handful of numbers, at a tenth of its time.
    """
    terms = [math.log(weight) + score for score, weight in zip(scores, weights, strict=True) if weight > 0]
    highest = max(terms)
    # By the sum: max may or may not return NaN, depending on the order.
    if math.isnan(sum(terms)):
        return None
    if highest == -math.inf:
        return highest
    return highest + math.log(sum(math.exp(term - highest) for term in terms))


def most_probable(log_probs: torch.Tensor, count: int) -> list[tuple[int, float]]:
    """The ``count`` most probable tokens of (V,) log-probabilities, with theirs."""
    if not count:
        return []
    values, tokens = log_probs.topk(count)
    return list(zip(tokens.tolist(), values.tolist(), strict=True))
