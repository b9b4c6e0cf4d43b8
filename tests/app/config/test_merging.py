from __future__ import annotations

import pytest

from app.config.load import load_config
from app.config.merging import MergeConfig
from app.core.errors import ConfigError


def test_merges_are_named_weighed_or_follow_a_language() -> None:
    given = ["merges.merged.weights.expert-01=0.25", "merges.merged_de.language=de"]
    merges = load_config("demo", overrides=given).merges
    assert merges == {"merged": MergeConfig(weights={"expert-01": 0.25}), "merged_de": MergeConfig(language="de")}


@pytest.mark.parametrize(
    "wrong",
    [
        ["merges.average.language=de"],
        ["merges.merged.weights.expert-00=-1"],
        ["merges.merged.weights.expert-00=0"],
        ["merges.merged.weights.expert-00=1", "merges.merged.language=de"],
    ],
)
def test_other_names_negative_weights_and_two_ways_of_weighing_are_refused(wrong: list[str]) -> None:
    with pytest.raises(ConfigError, match="merges"):
        load_config("demo", overrides=wrong)
