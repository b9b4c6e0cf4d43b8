"""The how-tos, followed word for word in a copy of the project."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.needs import need
from tests.support.source import ROOT

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

HOWTOS = sorted((ROOT / "docs/howto").glob("*.md"))
NEEDS_A_CLUSTER = {"run-on-a-cluster.md"}
# Shorter tests show what they show.
LONG = {"add-a-language.md", "add-a-system.md", "own-corpus.md", "own-seed.md", "sweep.md"}
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
FILE = re.compile(r"(Write|In) `([^`]+)`(:|, change:)\s*\Z")


def steps(text: str) -> Iterator[tuple[str, str, str]]:
    """(kind, path, content): ``write`` a file, ``change`` one by a diff, or ``run`` commands."""
    before = 0
    for block in BLOCK.finditer(text):
        language, content = block.groups()
        said = FILE.search(text[before : block.start()])
        before = block.end()
        if language == "sh":
            yield "run", "", content
        else:
            assert said is not None, f"nothing says what to do with this block:\n{content}"
            yield ("change" if said[1] == "In" else "write"), said[2], content


def changed(source: str, diff: str) -> str:
    """The source with a diff's minus and context lines replaced by its plus and context lines."""
    old = "".join(line[1:] for line in diff.splitlines(keepends=True) if line[0] in " -").removesuffix("\n")
    new = "".join(line[1:] for line in diff.splitlines(keepends=True) if line[0] in " +").removesuffix("\n")
    assert source.count(old) == 1, f"{source.count(old)} places for\n{old}"
    return source.replace(old, new)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """What is in the repository, in a folder of its own, with this environment."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    need("a git checkout", listed.returncode == 0, "git clone the project")
    copy = tmp_path / "project"
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    (copy / ".venv").symlink_to(Path(sys.prefix))
    return copy


@pytest.mark.parametrize(
    "howto",
    [
        pytest.param(howto, id=howto.stem, marks=[pytest.mark.rare] if howto.name in LONG else [])
        for howto in HOWTOS
        if howto.name not in NEEDS_A_CLUSTER
    ],
)
def test_following_it_word_for_word_works(howto: Path, project: Path) -> None:
    ran = 0
    for kind, path, content in steps(howto.read_text(encoding="utf-8")):
        place = project / path
        if kind == "write":
            place.write_text(content, encoding="utf-8")
        elif kind == "change":
            place.write_text(changed(place.read_text(encoding="utf-8"), content), encoding="utf-8")
        else:
            ran += 1
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", content],
                cwd=project,
                capture_output=True,
                text=True,
                check=False,
                env={"PYTHONPATH": str(project), "PATH": "/usr/bin:/bin", "HOME": str(Path.home())},
            )
            assert done.returncode == 0, f"{content}\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}"
    assert ran >= 1


def test_there_is_a_howto_for_each_thing_people_add() -> None:
    expected = {"own-corpus", "own-seed", "add-a-strategy", "add-a-corpus", "add-a-system", "serve"}
    assert expected <= {howto.stem for howto in HOWTOS}
