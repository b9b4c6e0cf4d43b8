"""What protects a cluster and its secrets, clause by clause, where no module's own test holds it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.source import ROOT
from tests.support.whole_run import SECRETS, WholeRun

_STARTS_RAY = re.compile(r"\bray (start|up|down|job|dashboard|stop)\b|\bserve (run|deploy)\b")


def _commands() -> list[str]:
    """Every command line with Ray's own tools in what users run or copy."""
    files = [ROOT / "Makefile", ROOT / "cluster.yaml", *sorted((ROOT / "deploy").rglob("*.yaml"))]
    files += sorted((ROOT / "docs/howto").glob("*.md"))
    lines = [line.strip() for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if re.match(r"(-\s+)?(export |RAY_|umask |\.venv/bin/|ray |serve )", line)]


def test_every_command_that_starts_or_asks_a_cluster_uses_the_token() -> None:
    commands = [line for line in _commands() if _STARTS_RAY.search(line)]
    assert len(commands) > 8
    assert [line for line in commands if "RAY_AUTH_MODE=token" not in line] == []


def test_one_file_alone_listens_on_every_interface_and_its_cluster_asks_for_token_and_key() -> None:
    files = [ROOT / "cluster.yaml", ROOT / "Makefile", *sorted((ROOT / "deploy").rglob("*.*"))]
    open_ones = [file for file in files if "0.0.0.0" in file.read_text(encoding="utf-8")]
    assert [file.name for file in open_ones] == ["rayservice.yaml"]  # a pod's port; its service is inside the cluster
    text = open_ones[0].read_text(encoding="utf-8")
    assert "mode: token" in text and "XELM_API_KEYS" in text and "serviceType: ClusterIP" in text


@pytest.mark.cluster
@pytest.mark.timeout(900)
def test_secrets_of_the_environment_are_in_no_file_and_no_word_of_a_run(whole_run: WholeRun) -> None:
    written = {file: file.read_bytes() for place in (whole_run.root, whole_run.ray) for file in _files(place)}
    assert {"config.yaml", "fleet.json", "manifest.json", "index.html"} <= {file.name for file in written}
    assert any("logs" in file.parts for file in written)
    said = {Path("stdout"): whole_run.stdout, Path("stderr"): whole_run.stderr}
    found = [(name, file) for name in SECRETS for file, data in {**written, **said}.items() if _holds(data, name)]
    assert found == []


def _files(place: Path) -> list[Path]:
    return [file for file in place.rglob("*") if file.is_file() and not file.is_symlink()]


def _holds(data: bytes, name: str) -> bool:
    return SECRETS[name].encode() in data
