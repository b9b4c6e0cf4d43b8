"""How one text is made, told as a program: it asks for passes of experts, is given their replies, and goes on.

The engine runs many such programs side by side and sends what they ask for in one batch; a program knows nothing of
the others, so what it makes depends on its request alone. It reads its prompt, then goes through cycles. In a cycle the
heaviest expert drafts a few tokens one by one, the experts that carry weight score them in one pass, and the mixture
keeps or replaces them in order (``speculation``). A cycle without drafts is plain decoding.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from app.core.records import FloatArray
from app.ensemble.mixing import mix_log_probs_torch
from app.ensemble.prompt import PIECE, Program, read_prompt
from app.ensemble.sampling import Seen, adjusted, choose_draft, distribution, draft_chances, pick
from app.ensemble.sequence import Sequence, most_probable
from app.ensemble.speculation import MOST_DRAFTED, PassCosts, accepts, best_draft_length, residual


@dataclass
class _Drafts:
    """Tokens drafted in a cycle, the drafter's log-probabilities of each place, and what each was drawn from.

    drawn_from: empty where tokens are drawn greedily.
    """

    tokens: list[int] = field(default_factory=list)
    rows: list[torch.Tensor] = field(default_factory=list)
    drawn_from: list[torch.Tensor] = field(default_factory=list)

    def add(self, token: int, row: torch.Tensor, chances: torch.Tensor | None) -> None:
        """One more; see ``sampling.choose_draft``."""
        self.tokens.append(token)
        self.rows.append(row)
        if chances is not None:
            self.drawn_from.append(chances)


def decode(sequence: Sequence, costs: PassCosts, drafts_ahead: bool = False) -> Program:
    """The program of a sequence, until its ``finish`` is set; arguments as in ``ExpertClient``."""
    yield from read_prompt(sequence)
    if sequence.finish is None:
        yield from _look_again(sequence)
    while sequence.finish is None:
        if not drafts_ahead and _one_expert_is_enough(sequence):
            yield from _draw_from_one(sequence)
        else:
            yield from _cycle(sequence, costs, drafts_ahead)
        if sequence.finish is None:
            yield from _look_again(sequence)


def _cycle(sequence: Sequence, costs: PassCosts, ahead: bool) -> Program:
    weights = sequence.weigher.weights()
    # More than those with weight: under top_m the posterior still needs the scores of the others.
    running = np.flatnonzero(sequence.weigher.running()).tolist()
    drafter = int(weights.argmax())
    # In pieces, which the scheduler may put off; one long feed would hold up every text of its step.
    yield from _read_all_but_newest(sequence, running)
    length = _draft_length(sequence, len(running) - 1, costs, ahead)
    drafts = _Drafts()
    if length and ahead:
        (reply,) = yield [sequence.feed_for_drafts(drafter, length)]
        for token, row in zip(reply.drafted, reply.rows, strict=True):
            # Rows are sent and chances are not; the same function of the row gives them here.
            drafts.add(token, row, draft_chances(row, sequence.request.sampling, _seen(sequence, drafts)))
    else:
        for _ in range(length):
            (reply,) = yield [sequence.feed(drafter, drafts.tokens)]
            row, number = reply.rows[0], sequence.number("token", len(drafts.tokens))
            token, chances = choose_draft(row, sequence.request.sampling, _seen(sequence, drafts), number)
            drafts.add(token, row, chances)
    # The drafter's rows are known from drafting: it reads its last draft only, for the row behind it.
    replies = yield [sequence.feed(place, drafts.tokens, 1 if place == drafter else length + 1) for place in running]
    rows = [
        torch.stack([*drafts.rows, reply.rows[0]]) if place == drafter and drafts.rows else reply.rows
        for place, reply in zip(running, replies, strict=True)
    ]
    _verify(sequence, running, rows[0][:, None] if len(rows) == 1 else torch.stack(rows, dim=1), drafts)
    sequence.forget_drafts()


def _draft_length(sequence: Sequence, others: int, costs: PassCosts, ahead: bool) -> int:
    """Tokens to draft; an expert alone drafts only to make several tokens with one call."""
    most = min(MOST_DRAFTED, sequence.left - 1)
    if not sequence.request.speculate:
        return 0
    return most if ahead and not others else best_draft_length(sequence.acceptance.rate, others, costs, most)


def _seen(sequence: Sequence, drafts: _Drafts) -> Seen:
    """What penalties look at behind the drafts; there is nothing to count where none looks."""
    return sequence.seen(drafts.tokens if sequence.request.sampling.adjusts else ())


def _verify(sequence: Sequence, running: list[int], rows: torch.Tensor, drafts: _Drafts) -> None:
    """Keep drafts in order until one is replaced; a token behind the last one is drawn from the mixture itself.

    rows: (drafts + 1, experts running, V) log-probabilities.
    """
    weigher = sequence.weigher
    kept, tested = 0, 0
    for place in range(len(rows)):
        if place and (weigher.missed().any() or not set(np.flatnonzero(weigher.running()).tolist()) <= set(running)):
            break  # the weights of this token need an expert that has not run
        weights = weigher.weights()
        draft = drafts.tokens[place] if place < len(drafts.tokens) else None
        drawn_from = drafts.drawn_from[place] if draft is not None and drafts.drawn_from else None
        mixture = _Mixture(rows[place], weights[running])
        token = _choose(sequence, mixture, draft, drawn_from)
        scores = np.full(len(weights), np.nan)
        scores[running] = mixture.scores(token)
        top = most_probable(mixture.log_probs(), sequence.request.logprobs or 0) if sequence.request.logprobs else []
        sequence.append(token, weights, scores, top)
        tested += draft is not None
        kept += token == draft
        if sequence.finish is not None or token != draft:
            break
    sequence.work.cycles += 1
    sequence.work.drafted += tested
    sequence.work.kept += kept
    sequence.acceptance.record(kept, tested)


def _choose(sequence: Sequence, mixture: _Mixture, draft: int | None, drawn_from: torch.Tensor | None) -> int:
    """The token of this place: the draft if it is kept, else its replacement, or one drawn from the mixture."""
    sampling = sequence.request.sampling
    # Drafts that were kept are appended by now, so they count as seen already.
    scores = adjusted(mixture.log_probs(), sampling, sequence.seen(())) if sampling.adjusts else None
    if sampling.greedy:
        return mixture.most_probable() if scores is None else int(scores.argmax())
    if sampling.plain and draft is not None and drawn_from is not None:  # one number decides: the rest is not needed
        if accepts(mixture.chance(draft), float(drawn_from[draft]), sequence.number("keep")):
            return draft
        return pick(residual(mixture.chances(), drawn_from), sequence.number("replace"))
    chances = (
        mixture.chances()
        if sampling.plain
        else distribution(mixture.log_probs() if scores is None else scores, sampling)
    )
    if draft is None or drawn_from is None:
        return pick(chances, sequence.number("token"))
    # p and q are both after temperature and cuts: only then is what is kept or replaced distributed as p.
    if accepts(float(chances[draft]), float(drawn_from[draft]), sequence.number("keep")):
        return draft
    return pick(residual(chances, drawn_from), sequence.number("replace"))


class _Mixture:
    """p = sum_e alpha_e p_e at one place; computes what is asked for and no more."""

    def __init__(self, rows: torch.Tensor, weights: FloatArray) -> None:
        """rows: (experts, V) log-probabilities, weights: (experts,)."""
        self._rows = rows
        self._weights = weights
        self._alone = int(weights.argmax()) if np.count_nonzero(weights) == 1 else None

    def scores(self, token: int) -> FloatArray:
        """(experts,) log-probability of one token under each."""
        scores: FloatArray = self._rows[:, token].double().cpu().numpy()
        return scores

    def chance(self, token: int) -> float:
        """Probability of one token under the mixture."""
        return float(self._weights @ np.exp(self.scores(token)))

    def most_probable(self) -> int:
        """The first token of the largest probability."""
        chances = self._rows[self._alone] if self._alone is not None else self.chances()
        return int(chances.max(0).indices)  # the same as argmax, in a third of its time on a CPU

    def chances(self) -> torch.Tensor:
        """(V,) probabilities."""
        if self._alone is not None:
            return self._rows[self._alone].exp()
        return self._torch_weights() @ self._rows.exp()

    def log_probs(self) -> torch.Tensor:
        """(V,) log-probabilities, also of what no float holds the probability of."""
        if self._alone is not None:
            return self._rows[self._alone]
        return mix_log_probs_torch(self._rows, self._torch_weights()[:, None], dim=0)

    def _torch_weights(self) -> torch.Tensor:
        return torch.from_numpy(self._weights).to(self._rows)


def _one_expert_is_enough(sequence: Sequence) -> bool:
    """Whether drawing e ~ alpha and then x ~ p_e is asked for and gives the mixture's distribution."""
    request = sequence.request
    # Cuts and penalties act on the mixture, and log-probabilities are its own: one expert alone cannot give them.
    plain = request.one_expert and request.sampling.plain and request.logprobs is None
    several = int(np.count_nonzero(sequence.weigher.weights())) > 1
    return plain and several and not sequence.weigher.needs_scores


def _draw_from_one(sequence: Sequence) -> Program:
    """Draw the expert by its weight, then the token from that expert alone; it reads what it has skipped."""
    weights = sequence.weigher.weights()
    expert = pick(torch.from_numpy(weights), sequence.number("expert"))
    yield from _read_all_but_newest(sequence, [expert])
    (reply,) = yield [sequence.feed(expert)]
    token = pick(reply.rows[0].exp(), sequence.number("token"))
    scores = np.full(len(weights), np.nan)
    scores[expert] = float(reply.rows[0, token])
    sequence.work.cycles += 1
    sequence.append(token, weights, scores, [])
    sequence.forget_drafts()


def _read_all_but_newest(sequence: Sequence, places: list[int]) -> Program:
    """Experts that lag far behind read up to a piece's length before the newest token, piece by piece."""
    while behind := [place for place in places if sequence.unread(place) > PIECE]:
        yield [sequence.feed_piece(place, len(sequence.tokens) - sequence.unread(place) + PIECE) for place in behind]


def _look_again(sequence: Sequence) -> Program:
    """Dropped experts score what they have missed, when it is time."""
    missed = sequence.weigher.missed()
    # The newest token is left unread: what follows it is not known, so there is nothing to score.
    last = len(sequence.tokens) - 1
    scores: dict[int, list[FloatArray]] = {place: [] for place in np.flatnonzero(missed).tolist()}
    while behind := [place for place in scores if sequence.unread(place) > 1]:
        feeds = [
            sequence.feed_piece(place, min(last, last + 1 - sequence.unread(place) + PIECE), scored=True)
            for place in behind
        ]
        replies = yield feeds
        for place, reply in zip(behind, replies, strict=True):
            scores[place].append(reply.scores.double().numpy())
    for place, parts in scores.items():
        assert parts, f"expert {place} has read what it has not scored"
        sequence.weigher.catch_up(place, np.concatenate(parts)[-int(missed[place]) :])
