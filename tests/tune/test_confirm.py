from __future__ import annotations

from pathlib import Path

import pytest

from tune.confirm import main


def test_without_fresh_seeds_nothing_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "artifacts"
    assert main(["--preset", "demo", f"--set=artifacts.root={root}", "--set=sweep.k=2"]) == 2
    assert "sweep.fresh_seeds" in capsys.readouterr().err and not (root / "store").exists()


def test_help_names_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "python -m tune.confirm" in capsys.readouterr().out
