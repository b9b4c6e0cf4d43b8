from __future__ import annotations

import numpy as np
import pytest
import torch

from app.core.errors import ServingError
from app.ensemble.sampling import Sampling, Seen, adjusted, choose, distribution, pick, uniform

P = torch.tensor([0.1, 0.4, 0.05, 0.25, 0.2])
SCORES = P.log()


def test_temperature_is_a_power_of_the_probabilities() -> None:
    expected = P**2 / (P**2).sum()
    torch.testing.assert_close(distribution(SCORES, Sampling(temperature=0.5)), expected)
    for temperature in (1e-9, 1e-310):
        assert distribution(SCORES, Sampling(temperature=temperature)).tolist() == [0, 1, 0, 0, 0]


@pytest.mark.parametrize(
    ("sampling", "kept"),
    [
        (Sampling(top_k=2), [1, 3]),
        (Sampling(top_p=0.6), [1, 3]),
        (Sampling(top_p=0.66), [1, 3, 4]),
        (Sampling(top_p=1e-6), [1]),
        (Sampling(min_p=0.3), [1, 3, 4]),
        (Sampling(min_p=0.3, top_k=4, top_p=0.7), [1, 3]),  # 0.4 and 0.25 are 76 % of what min-p left
    ],
)
def test_truncation_keeps_the_probable_and_renormalises(sampling: Sampling, kept: list[int]) -> None:
    expected = torch.zeros(5)
    expected[kept] = P[kept] / P[kept].sum()
    torch.testing.assert_close(distribution(SCORES, sampling), expected)


def test_equal_probabilities_are_kept_by_index() -> None:
    assert distribution(torch.zeros(4), Sampling(top_k=2)).tolist() == [0.5, 0.5, 0, 0]


def test_repetition_counts_prompt_and_text_presence_and_frequency_the_text_alone() -> None:
    seen = Seen(prompt=[0, 0, 1], made=[1, 1, 3])
    sampling = Sampling(repetition_penalty=1.5, presence_penalty=0.5, frequency_penalty=0.25, logit_bias={2: 3.0})
    logs = np.log(P.numpy())
    expected = [logs[0] * 1.5, logs[1] * 1.5 - 0.5 - 0.5, logs[2] + 3, logs[3] * 1.5 - 0.5 - 0.25, logs[4]]
    np.testing.assert_allclose(adjusted(SCORES, sampling, seen).numpy(), expected, rtol=1e-6)
    np.testing.assert_allclose(SCORES.numpy(), logs, rtol=1e-6)


def test_drafts_count_as_made_and_leave_what_was_seen_alone() -> None:
    seen = Seen(prompt=[0], made=[1])
    longer = seen.followed_by([1, 2])
    assert longer.made() == ([1, 2], [2, 1]) and sorted(longer.anywhere()) == [0, 1, 2]
    assert seen.made() == ([1], [1])


def test_a_number_picks_the_token_in_whose_share_it_falls() -> None:
    weights = torch.tensor([0.0, 2.0, 0.0, 1.0, 1.0, 0.0])
    found = [pick(weights, number) for number in (0.0, 0.499, 0.5, 0.749, 0.75, 1 - 2**-53)]
    assert found == [1, 1, 3, 3, 4, 4]


def test_greedily_the_first_of_the_largest_is_chosen_after_penalties() -> None:
    scores = torch.tensor([0.1, 0.4, 0.4, 0.1]).log()
    assert choose(scores, Sampling(temperature=0), Seen(), 0.99) == 1
    assert choose(scores, Sampling(temperature=0, presence_penalty=0.5), Seen(made=[1]), 0.0) == 2
    assert choose(scores, Sampling(), Seen(), 0.99) == 3


def test_numbers_depend_on_seed_purpose_and_position_and_are_uniform() -> None:
    assert uniform(1, "token", 2) == uniform(1, "token", 2)
    assert len({uniform(1, "token", 2), uniform(2, "token", 2), uniform(1, "keep", 2), uniform(1, "token", 3)}) == 4
    numbers = np.array([uniform(7, "token", position) for position in range(4000)])
    counts = np.histogram(numbers, bins=20, range=(0, 1))[0]
    assert ((counts - 200) ** 2 / 200).sum() < 43.8  # the 99.9 % point of chi-square with 19 degrees of freedom
    assert abs(np.corrcoef(numbers[1:], numbers[:-1])[0, 1]) < 0.05


def test_only_the_default_settings_are_plain() -> None:
    assert Sampling().plain
    changed = [{"temperature": 0.9}, {"top_p": 0.9}, {"top_k": 3}, {"min_p": 0.1}, {"presence_penalty": 0.1}]
    changed += [{"frequency_penalty": 0.1}, {"repetition_penalty": 1.1}]
    assert not any(Sampling(**change).plain for change in changed)  # type: ignore[arg-type]
    assert not Sampling(logit_bias={0: 1.0}).plain


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        (Sampling(temperature=-1), "temperature is -1; choose a number from 0"),
        (Sampling(temperature=float("nan")), "temperature is nan"),
        (Sampling(top_p=1.5), "top_p is 1.5"),
        (Sampling(min_p=-0.1), "min_p is -0.1"),
        (Sampling(presence_penalty=3), "presence_penalty is 3; choose a number from -2 to 2"),
        (Sampling(repetition_penalty=0), "repetition_penalty is 0"),
        (Sampling(logit_bias={5: 1.0}), "token 5 a bias of 1.0; ids run from 0 to 4"),
        (Sampling(logit_bias={1: 101.0}), "a bias from -100 to 100"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(sampling: Sampling, message: str) -> None:
    with pytest.raises(ServingError, match=message):
        sampling.require_valid(5)
