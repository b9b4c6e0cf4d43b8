from __future__ import annotations

import pytest

from app.config.load import load_config
from app.core.errors import ConfigError


def test_the_short_training_is_dmoes_ten_steps() -> None:
    assert load_config("demo").probes.steps == 10
    with pytest.raises(ConfigError, match=r"probes\.rows"):
        load_config("demo", overrides=["probes.rows=0"])
