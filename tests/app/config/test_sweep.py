from __future__ import annotations

import pytest

from app.config.load import load_config
from app.core.errors import ConfigError


def test_values_may_be_one_several_or_a_list() -> None:
    assert load_config("demo", overrides=["sweep.k=4"]).sweep.k == (4,)
    assert load_config("demo", overrides=["sweep.k=2,4"]).sweep.k == (2, 4)
    assert load_config("demo", overrides=["sweep.learning_rate=[0.001,0.002]"]).sweep.learning_rate == (0.001, 0.002)
    assert load_config("demo", overrides=["sweep.strategy=typological,random"]).sweep.strategy == (
        "typological",
        "random",
    )


@pytest.mark.parametrize("wrong", ["sweep.k=0", "sweep.k=2,x", "sweep.trials=0", "sweep.searcher=best"])
def test_what_cannot_be_tried_is_refused(wrong: str) -> None:
    with pytest.raises(ConfigError, match="sweep"):
        load_config("demo", overrides=[wrong])
