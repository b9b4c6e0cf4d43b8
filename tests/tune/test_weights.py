from __future__ import annotations

import json

import pytest

from app.artifacts.store import Store
from app.config.schema import Config
from tune.weights import main


def test_the_command_prints_the_best_weighting_and_its_figure_on_the_held_back_half(
    tiny_run: tuple[Config, Store], capsys: pytest.CaptureFixture[str]
) -> None:
    config, store = tiny_run
    assert main(["--run", config.run.name, f"--set=artifacts.root={store.root}", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["run"] == config.run.name and found["best"]["name"] in ("posterior", "bayes", "uniform")
    assert found["held_back"]["documents"] > 0
