"""An ExpertClient over models in this process: stacks of models of one shape, and single models beside them.

Feeds of one call go into few passes: short ones of like length share a pass over a group of models, long ones a pass
over their expert. They are padded by their own last token, which changes nothing (``app.models.cache``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from app.core.errors import ServingError
from app.ensemble.client import Capacity, Feed, Reply
from app.ensemble.speculation import PassCosts
from app.models.cache import pad_rows
from app.models.causal import CausalLM
from app.models.stacked import StackedLM

# Rows of a pass are padded to the longest: single tokens, drafts and pieces of a prompt do not share one.
_SHORT = 16
_LARGE = 1 << 14
"""Tokens times width from which a pass of one expert uses the processor as well as one of several."""
_SCORED_AT_ONCE = 1 << 24
"""Log-probabilities held at once where only those of single tokens are wanted: 64 MB."""
_NO_SCORES = torch.zeros(0)


class _Stack:
    def __init__(self, stack: StackedLM, slots: int, length: int) -> None:
        self.experts, self.vocabulary, self.width = stack.experts, stack.vocabulary, stack.width
        self._stack, self.cache = stack, stack.new_cache(slots, length)

    def hidden(self, rows: torch.Tensor, positions: torch.Tensor, experts: list[int], slots: list[int]) -> torch.Tensor:
        rows = rows.to(self._stack.device)
        return self._stack.hidden(rows, experts, positions, self.cache.pairs(experts, slots))

    def logits(self, hidden: torch.Tensor, experts: list[int]) -> torch.Tensor:
        return self._stack.logits(hidden, experts)


class _Single:
    experts = 1

    def __init__(self, model: CausalLM, slots: int, length: int) -> None:
        self.vocabulary, self.width = model.head.shape
        self._model, self.cache = model, model.new_cache(slots, length)

    def hidden(self, rows: torch.Tensor, positions: torch.Tensor, experts: list[int], slots: list[int]) -> torch.Tensor:
        return self._model.hidden(rows.to(self._model.head.device), positions, self.cache.rows(slots))

    def logits(self, hidden: torch.Tensor, experts: list[int]) -> torch.Tensor:
        return torch.nn.functional.linear(hidden, self._model.head)


_Group = _Stack | _Single
"""Models that share a pass, with their caches. Rows (P, T) are ordered by expert; hidden states are (P, T, D)."""


class LocalClient:
    """See ExpertClient. The experts are those of the groups, in order; all memory is taken when it is made."""

    def __init__(
        self, groups: Sequence[StackedLM | CausalLM], slots: int, length: int, costs: PassCosts | None = None
    ) -> None:
        """slots: texts at once; length: tokens of each, the start token included.

        Raises ConfigError for a length beyond a model's context, ServingError for models of several vocabularies.
        """
        self._groups: list[_Group] = [
            _Stack(group, slots, length) if isinstance(group, StackedLM) else _Single(group, slots, length)
            for group in groups
        ]
        sizes = sorted({group.vocabulary for group in self._groups})
        if len(sizes) != 1:
            raise ServingError(f"models with vocabularies of {sizes} tokens cannot be mixed; serve them one by one")
        self._place = [(group, number) for group in self._groups for number in range(group.experts)]
        self.capacity = Capacity(len(self._place), sizes[0], slots, length)
        self.costs = costs or PassCosts()

    @property
    def drafts_ahead(self) -> bool:
        """See ExpertClient: a call costs nothing here, and between two drafts others can share a pass."""
        return False

    @torch.inference_mode()
    def extend(self, feeds: Sequence[Feed]) -> list[Reply]:
        """See ExpertClient."""
        replies: dict[int, Reply] = {}
        for group, places in self._passes(feeds):
            experts = [self._place[feeds[place].expert][1] for place in places]
            for place, reply in zip(places, _run(group, [feeds[place] for place in places], experts), strict=True):
                replies[place] = reply
        return [replies[place] for place in range(len(feeds))]

    def drop(self, slot: int) -> None:
        """See ExpertClient: what the slot holds is overwritten before it is read."""

    def _passes(self, feeds: Sequence[Feed]) -> Iterator[tuple[_Group, list[int]]]:
        """Places of the feeds of each pass, ordered by expert and slot."""
        passes: dict[tuple[int, int, int, bool], list[int]] = {}
        # A stack takes rows ordered by expert; slots in order are likelier to lie at a constant step, read in place.
        for place in sorted(range(len(feeds)), key=lambda place: (feeds[place].expert, feeds[place].slot)):
            length, group = len(feeds[place].tokens), self._place[feeds[place].expert][0]
            kind = 0 if length == 1 else 1 if length <= _SHORT else 2
            large = kind == 2 and length * group.width >= _LARGE
            alone = feeds[place].expert if large else -1  # its products are large enough without the others
            passes.setdefault((id(group), kind, alone, feeds[place].chances), []).append(place)
        for places in passes.values():
            yield self._place[feeds[places[0]].expert][0], places


def _run(group: _Group, feeds: list[Feed], experts: list[int]) -> list[Reply]:
    """One pass over feeds ordered by expert."""
    rows, positions = pad_rows([feed.tokens for feed in feeds], [feed.start for feed in feeds])
    hidden = group.hidden(rows, positions, experts, [feed.slot for feed in feeds])
    if feeds[0].chances:
        return _chances(group, hidden, feeds, experts)
    newest = _newest(group, hidden, feeds, experts)
    scores = _scores(group, hidden, feeds, experts)
    return [Reply(log_probs, found) for log_probs, found in zip(newest, scores, strict=True)]


def _chances(group: _Group, hidden: torch.Tensor, feeds: list[Feed], experts: list[int]) -> list[Reply]:
    """Replies of ``Feed.chances``."""
    chances = group.logits(hidden, experts).float()
    scores = _made_chances(chances, _targets(feeds, hidden.shape[1]).to(hidden.device))
    found = zip(chances, scores.cpu(), feeds, strict=True)
    return [Reply(rows[: feed.rows], row[: len(feed.targets)]) for rows, row, feed in found]


def _made_chances(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Turn logits (P, T, V) into probabilities in place: of a long piece they are the largest array of all.

    Returns the log-probabilities (P, T) of the targets (P, T, 1), also of what no float holds the probability of.
    """
    scores = logits.gather(2, targets).squeeze(2) - logits.amax(-1)
    torch.softmax(logits, -1, out=logits)
    # A logit less the highest one, and the log-probability of that. On a CPU this takes half the time of a logsumexp;
    # a maximum with its place takes twenty times that of the maximum alone.
    return scores.add_(logits.amax(-1).log())


def _newest(group: _Group, hidden: torch.Tensor, feeds: list[Feed], experts: list[int]) -> list[torch.Tensor]:
    """Each feed's (``rows``, V) log-probabilities."""
    most = max(feed.rows for feed in feeds)
    if not most:
        # Prompts that are only scored need no distribution; their scores are made in parts, in _scores.
        return [hidden.new_zeros(0, group.vocabulary, dtype=torch.float32)] * len(feeds)
    # Rows of different lengths end at different columns; the head is large, so only the wanted ones go through it.
    if any(len(feed.tokens) != hidden.shape[1] for feed in feeds):
        first = torch.tensor([max(0, len(feed.tokens) - most) for feed in feeds], device=hidden.device)
        last = torch.tensor([len(feed.tokens) - 1 for feed in feeds], device=hidden.device)
        chosen = torch.minimum(first[:, None] + torch.arange(most, device=hidden.device), last[:, None])
        hidden = hidden.gather(1, chosen[..., None].expand(-1, -1, hidden.shape[2]))
    else:
        hidden = hidden[:, -most:]
    log_probs = group.logits(hidden, experts).float().log_softmax(-1)
    found = []
    for row, feed in zip(log_probs, feeds, strict=True):
        held = min(most, len(feed.tokens))
        found.append(row[held - feed.rows : held])
    return found


def _scores(group: _Group, hidden: torch.Tensor, feeds: list[Feed], experts: list[int]) -> list[torch.Tensor]:
    """Each feed's (targets,) log-probabilities, on the CPU."""
    scored = max(len(feed.targets) for feed in feeds)
    if not scored:
        return [_NO_SCORES] * len(feeds)
    targets = _targets(feeds, scored).to(hidden.device)
    at_once = max(1, _SCORED_AT_ONCE // (len(feeds) * group.vocabulary))
    parts = []
    for start in range(0, scored, at_once):
        logits = group.logits(hidden[:, start : min(start + at_once, scored)], experts).float()
        parts.append(_made_chances(logits, targets[:, start : start + at_once]))
    found = torch.cat(parts, dim=1).cpu()
    return [row[: len(feed.targets)] for row, feed in zip(found, feeds, strict=True)]


def _targets(feeds: list[Feed], most: int) -> torch.Tensor:
    """(feeds, most, 1) ids; 0 behind the end of shorter ones."""
    rows = [[*feed.targets, *[0] * (most - len(feed.targets))] for feed in feeds]
    return torch.tensor(rows, dtype=torch.int64)[..., None]
