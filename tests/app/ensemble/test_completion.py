from __future__ import annotations

import pytest

from app.core.errors import ServingError
from app.ensemble.completion import complete
from app.ensemble.sampling import Sampling
from tests.support.toy_experts import Posterior, ToyClient, ToyExperts, mixture, shown, toy_request

TOYS = ToyExperts(alike=0.3)
GREEDY = Sampling(max_tokens=5, temperature=0)


def by_hand(prompt: list[int]) -> str:
    weigher = shown(TOYS, Posterior(0.2, 0.5, 0.3), prompt)
    tokens = list(prompt)
    for _ in range(GREEDY.max_tokens):
        token = int(mixture(TOYS, weigher, tokens).argmax())
        weigher.observe("", token, TOYS.log_probs(tokens)[:, token])  # type: ignore[attr-defined]
        tokens.append(token)
    return "".join(chr(ord("a") + token) for token in tokens[len(prompt) :])


def test_each_request_gets_its_own_text_in_order_whatever_the_slots() -> None:
    prompts = [[0, 3, 1], [0, 2], [0, 5, 5, 4], [0, 1]]
    requests = [toy_request(prompt, lambda: Posterior(0.2, 0.5, 0.3), GREEDY) for prompt in prompts]
    done = complete(ToyClient(TOYS, slots=3), requests)
    assert [one.text for one in done] == [by_hand(prompt) for prompt in prompts]
    assert {(one.finish, one.tokens) for one in done} == {("length", GREEDY.max_tokens)}


def test_an_end_token_ends_a_text_and_is_no_part_of_it() -> None:
    whole = by_hand([0, 3, 1])
    ends = frozenset({ord(whole[2]) - ord("a")})
    (done,) = complete(
        ToyClient(TOYS), [toy_request([0, 3, 1], lambda: Posterior(0.2, 0.5, 0.3), GREEDY, stop_ids=ends)]
    )
    assert done.finish == "stop" and done.text == whole[: min(whole.index(whole[2]), 2)]


def test_what_cannot_be_met_is_raised() -> None:
    with pytest.raises(ServingError, match="context"):
        complete(ToyClient(TOYS, length=4), [toy_request([0, 3, 1], lambda: Posterior(1.0, 0, 0), GREEDY)])
