from __future__ import annotations

import pytest

from app.config.load import load_config
from app.core.errors import ConfigError


def test_the_papers_four_join_a_run_like_the_papers() -> None:
    config, paper = load_config("adaptation"), load_config("paper-k8")
    assert config.adaptation.languages == ("az", "he", "pl", "sv")
    assert config.model_copy(update={"adaptation": paper.adaptation, "run": paper.run}) == paper


@pytest.mark.parametrize(
    "wrong",
    [
        ["adaptation.languages=az", "adaptation.remove=az"],
        ["adaptation.in_turn=true", "adaptation.ranking=perplexity"],
        ["adaptation.donor_share=1"],
    ],
)
def test_what_contradicts_itself_is_refused(wrong: list[str]) -> None:
    with pytest.raises(ConfigError, match="adaptation"):
        load_config("demo", overrides=wrong)
