from __future__ import annotations

import numpy as np
import pytest

from app.core.errors import ConfigError
from app.ensemble.prior import fit_prior

# Two texts that the first expert finds three times as likely, one that the second does.
TEXTS = np.log([[3.0, 1.0], [3.0, 1.0], [1.0, 3.0]])


def test_one_round_gives_each_expert_its_share_of_every_text() -> None:
    assert fit_prior(TEXTS, spread=0, most_rounds=1).prior == pytest.approx([1.75 / 3, 1.25 / 3])
    assert fit_prior(TEXTS, spread=1, most_rounds=1).prior == pytest.approx([2.25 / 4, 1.75 / 4])


def test_it_ends_where_the_texts_are_most_likely() -> None:
    """2 log(1 + 2a) + log(3 - 2a) is largest at a = 5/6."""
    fitted = fit_prior(TEXTS - 700.0, spread=0)
    assert fitted.prior == pytest.approx([5 / 6, 1 / 6], abs=1e-4)
    most = 2 * np.log(1 + 2 * 5 / 6) + np.log(3 - 2 * 5 / 6) - 3 * 700
    assert fitted.objective[-1] == pytest.approx(most)


@pytest.mark.parametrize("spread", [0.0, 1.0, 5.0])
def test_no_round_makes_the_texts_less_likely(spread: float) -> None:
    texts = np.random.default_rng(3).normal(-400.0, 4.0, (40, 5))
    fitted = fit_prior(texts, spread)
    assert len(fitted.objective) > 3 and (np.diff(fitted.objective) > -1e-9).all()
    assert fitted.prior.sum() == pytest.approx(1.0)


def test_with_a_spread_no_expert_is_ruled_out() -> None:
    certain = np.array([[0.0, -1000.0]] * 9)
    assert fit_prior(certain, spread=0).prior.tolist() == [1.0, 0.0]
    assert fit_prior(certain, spread=1).prior == pytest.approx([0.95, 0.05], abs=1e-6)
    with pytest.raises(ConfigError, match="spread is -1"):
        fit_prior(certain, spread=-1)
