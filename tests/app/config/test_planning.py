from __future__ import annotations

import pytest
import yaml

from app.config.load import load_config, resolved
from app.core.errors import ConfigError


def test_one_figure_of_one_gpu_can_be_changed_and_the_others_stay() -> None:
    before, after = (
        load_config("demo", overrides=overrides).planning.gpus for overrides in ([], ["planning.gpus.L40S.spot=0.7"])
    )
    assert after["L40S"].spot == 0.7 != before["L40S"].spot
    assert after["L40S"].on_demand == before["L40S"].on_demand and after["H100"] == before["H100"]


def test_a_gpu_of_ones_own_needs_all_figures() -> None:
    whole = "planning.gpus.B200={peak_tflops: 2250, memory_gb: 180, on_demand: 9, spot: 4}"
    config = load_config("demo", overrides=[whole, "planning.gpu=B200"])
    assert config.planning.gpus[config.planning.gpu].memory_gb == 180
    with pytest.raises(ConfigError, match=r"planning\.gpus\.B200\.spot"):
        load_config("demo", overrides=[whole.replace(", spot: 4", "")])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("planning.gpu=L40", "did you mean 'L40S'.*give planning.gpus.L40"),
        ("planning.gpus.L40S.sot=1", "did you mean 'planning.gpus.L40S.spot'"),
        ("planning.gpus.L40S=1", "planning.gpus.L40S = 1"),
        ("planning.utilisation=1.5", "planning.utilisation = 1.5"),
    ],
)
def test_what_is_wrong_is_named(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config("demo", overrides=[override])


def test_a_resolved_configuration_is_read_back_as_it_was() -> None:
    config = load_config("demo", overrides=["planning.gpus.A10G.spot=0.1"])
    assert type(config).model_validate(yaml.safe_load(yaml.safe_dump(resolved(config)))) == config
