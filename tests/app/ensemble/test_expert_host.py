"""An expert goes on from the very call before, or says that it cannot."""

from __future__ import annotations

import numpy as np
import torch

from app.ensemble.client import Drafting, Feed, Reply
from app.ensemble.expert_host import Ask, ExpertHost
from app.ensemble.sampling import Sampling, Seen
from tests.support.toy_experts import ToyClient, ToyExperts

TOYS = ToyExperts(k=1)


def host(slots: int = 2) -> ExpertHost:
    return ExpertHost(ToyClient(TOYS, slots))


def row_after(tokens: list[int]) -> np.ndarray:
    row: np.ndarray = TOYS.log_probs(tokens)[0]
    return row


def check(reply: Reply | None, tokens: list[int]) -> None:
    assert reply is not None
    np.testing.assert_allclose(reply.rows[-1].numpy(), row_after(tokens), atol=1e-6)


def test_a_text_goes_on_from_what_was_fed() -> None:
    here = host()
    check(here.run("a", [Ask(1, Feed(3, 5, [0, 4], 0))])[0], [0, 4])
    check(here.run("a", [Ask(2, Feed(3, 5, [2, 1], 1))])[0], [2, 1])  # the 4 was not kept


def test_what_was_never_fed_here_is_asked_for() -> None:
    here = host()
    assert here.run("a", [Ask(2, Feed(0, 0, [4], 1))]) == [None]
    check(here.run("a", [Ask(3, Feed(0, 0, [4], 1), (3,))])[0], [3, 4])
    assert here.run("b", [Ask(4, Feed(0, 0, [4], 2))]) == [None]  # another caller's slot of the same number


def test_a_call_that_went_elsewhere_is_missed() -> None:
    here = host()
    here.run("a", [Ask(1, Feed(0, 0, [0, 4], 0))])
    assert here.run("a", [Ask(3, Feed(0, 0, [1], 1))]) == [None]


def test_the_past_that_was_used_last_stays() -> None:
    here = host(slots=2)
    for slot in (0, 1):
        here.run("a", [Ask(1, Feed(slot, 0, [0, slot], 0))])
    check(here.run("a", [Ask(2, Feed(0, 0, [5], 2))])[0], [0, 5])
    here.run("a", [Ask(1, Feed(2, 0, [0, 2], 0))])
    assert here.run("a", [Ask(2, Feed(1, 0, [5], 2))]) == [None]
    check(here.run("a", [Ask(3, Feed(0, 0, [4], 3))])[0], [5, 4])


def test_drafts_are_the_most_probable_tokens_with_the_rows_that_they_were_chosen_from() -> None:
    here, drafting = host(), Drafting(Sampling(9, temperature=0.0), Seen(), [0.0] * 3)
    plain = Ask(1, Feed(1, 0, [0, 2], 0))
    first, second = here.run("a", [Ask(1, Feed(0, 0, [0, 4], 0, drafting=drafting)), plain])
    assert first is not None and second is not None
    tokens, drafted = [0, 4], []
    for _ in range(3):
        drafted.append(int(row_after(tokens).argmax()))
        tokens.append(drafted[-1])
    assert list(first.drafted) == drafted and not second.drafted
    rows = np.stack([row_after([0, 4, *drafted[:ahead]]) for ahead in range(3)])
    np.testing.assert_allclose(first.rows.numpy(), rows, atol=1e-6)
    check(here.run("a", [Ask(2, Feed(0, 0, [1], 4))])[0], [drafted[1], 1])  # all drafts but the last were read


def test_penalties_of_drafts_see_the_drafts_before() -> None:
    sampling = Sampling(9, temperature=0.0, presence_penalty=2.0)
    (reply,) = host().run("a", [Ask(1, Feed(0, 0, [0, 4], 0, drafting=Drafting(sampling, Seen(), [0.0] * 4)))])
    assert reply is not None
    tokens, drafted = [0, 4], []
    for _ in range(4):
        scores = row_after(tokens).copy()
        scores[drafted] -= 2.0
        drafted.append(int(scores.argmax()))
        tokens.append(drafted[-1])
    assert list(reply.drafted) == drafted


def test_scores_of_given_tokens_come_with_a_feed() -> None:
    (reply,) = host().run("a", [Ask(1, Feed(0, 0, [0, 4, 1], 0, rows=0, targets=(4, 1)))])
    assert reply is not None and reply.rows.shape == (0, 6)
    expected = torch.tensor([row_after([0])[4], row_after([0, 4])[1]]).float()
    torch.testing.assert_close(reply.scores, expected)
