"""What `ray job submit --working-dir .` carries, by Ray's own packaging."""

from __future__ import annotations

import subprocess
from pathlib import Path
from zipfile import ZipFile

import pytest
from ray._private.runtime_env.packaging import create_package

from tests.support.needs import need
from tests.support.source import PACKAGES, ROOT

MOST_BYTES = 5_000_000


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of this checkout."""
    package = tmp_path_factory.mktemp("package") / "working_dir.zip"
    create_package(str(ROOT), package, include_gitignore=True)
    return package


def test_the_package_is_small(packed: Path) -> None:
    assert packed.stat().st_size < MOST_BYTES


def test_the_package_has_everything_a_job_needs_and_nothing_else(packed: Path) -> None:
    carried = {name.partition("/")[0] for name in ZipFile(packed).namelist()}
    assert {"app", "benchmarks", "deploy", "jobs", "serve", "tune", "pyproject.toml", "constraints.txt"} <= carried
    assert carried & {".git", ".venv", ".local", "artifacts", "tests", "docs", ".mypy_cache", ".ruff_cache"} == set()


def test_every_tracked_file_of_the_packages_is_carried(packed: Path) -> None:
    command = ["git", "ls-files", *PACKAGES]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    need("a git checkout", listed.returncode == 0, "git clone the project")
    carried = set(ZipFile(packed).namelist())
    assert [name for name in listed.stdout.splitlines() if name not in carried and (ROOT / name).is_file()] == []


def test_a_checkout_of_any_size_gives_the_same_package(packed: Path, tmp_path: Path) -> None:
    copy = tmp_path / "checkout"
    for name in ZipFile(packed).namelist():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(ZipFile(packed).read(name))
    for folder in (".git", ".venv", ".local", "artifacts", "tests", "docs", ".mypy_cache", "app/__pycache__"):
        (copy / folder).mkdir(parents=True)
        (copy / folder / "large").write_bytes(b"\0" * 1_000_000)
    again = tmp_path / "again.zip"
    create_package(str(copy), again, include_gitignore=True)
    assert sorted(ZipFile(again).namelist()) == sorted(ZipFile(packed).namelist())
