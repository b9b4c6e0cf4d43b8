from __future__ import annotations

import json
from pathlib import Path

import pytest

from tune.sweep import main


def test_a_dry_run_lists_the_trials(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--preset", "demo", "--dry-run", "--format", "json", f"--set=artifacts.root={tmp_path}"]
    assert main([*options, "--set=sweep.k=2,4", "--set=sweep.strategy=random"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["trials"] == [{"k": 2, "strategy": "random"}, {"k": 4, "strategy": "random"}]
    assert found["forecast"]["trials"] == 2 and found["forecast"]["shared"] > 0
    assert main(options) == 2
    assert "the sweep tries nothing" in capsys.readouterr().err


def test_help_names_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "python -m tune.sweep" in capsys.readouterr().out
