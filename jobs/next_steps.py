"""What to type next, with the settings that were typed before."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Typed:
    """A command line and what it meant. ``words``: the options as they were typed."""

    words: Sequence[str]
    run: str
    root: str
    source: str
    strategy: str


def after_all(typed: Typed) -> dict[str, str]:
    """What -> the command, after all stages are done."""
    python = _shown(sys.executable)
    mine = shlex.join(typed.words)
    mine = f" {mine}" if mine else ""
    other = "typological" if typed.strategy == "tfidf" else "tfidf"
    cut = f"--set allocation.strategy={other} --set run.name={shlex.quote(f'{typed.run}-{other}')}"
    # The one beside this Python: PATH may lead to another, or to none.
    serve = _shown(str(Path(sys.executable).with_name("serve")))
    served = shlex.join([f"run={typed.run}", f"root={typed.root}"])
    steps = {
        "another cut": f"{python} -m jobs.all{mine} {cut}",
        "serve": f"RAY_AUTH_MODE=token {serve} run serve.builder:app {served}",
        "export": f"{python} -m jobs.export{mine}",
    }
    if typed.source == "almanac":
        own = "--preset laptop --set corpus.path=FOLDER --set corpus.languages=de,en,sw"
        steps["own text"] = f"{python} -m jobs.all {own}"
    return steps


def as_lines(steps: dict[str, str]) -> str:
    """One line each, aligned."""
    return "\n".join(f"next     {what:<12} {command}" for what, command in steps.items())


def _shown(program: str) -> str:
    """Relative to this folder where it is below it, as people type it."""
    path, here = Path(program), Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))
