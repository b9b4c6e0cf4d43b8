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


def test_the_cut_of_the_configuration_itself_is_no_trials_and_an_impossible_trial_is_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--preset", "demo", "--dry-run", "--format", "json", f"--set=artifacts.root={tmp_path}"]
    assert main([*options, "--set=corpus.languages=de,hi", "--set=sweep.k=1,3"]) == 0  # demo itself has k=4
    found = json.loads(capsys.readouterr().out)
    assert found["trials"] == [{"k": 1}, {"k": 3}] and found["problems"] == []
    assert list(found["forecast"]["impossible"]) == ["demo.k-3"] and found["forecast"]["trials"] == 1


def test_a_name_that_does_not_exist_in_one_trial_is_refused_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "artifacts"
    assert main(["--preset", "demo", "--dry-run", f"--set=artifacts.root={root}", "--set=sweep.strategy=typology"]) == 2
    assert "did you mean 'typological'" in capsys.readouterr().err and not root.exists()


def test_help_names_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "python -m tune.sweep" in capsys.readouterr().out
