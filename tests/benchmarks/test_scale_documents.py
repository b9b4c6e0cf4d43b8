from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.scale_documents import Watch, is_worker, write_documents


def test_text_is_of_so_many_documents_spread_over_the_languages(tmp_path: Path) -> None:
    write_documents(tmp_path, 10)
    held = {path.parent.name: path.read_text().splitlines() for path in sorted(tmp_path.rglob("*.jsonl"))}
    assert {lang: len(lines) for lang, lines in held.items()} == {"de": 3, "en": 3, "fr": 2, "sw": 2}
    letters = [set("".join(json.loads(line)["text"] for line in lines)) - {" "} for lines in held.values()]
    assert not letters[0] & letters[1]


@pytest.mark.parametrize(
    ("command", "worker"),
    [
        (["ray::IDLE"], True),
        (["python", "-u", "/x/ray/_private/workers/default_worker.py", "--node=1"], True),
        (["ray::DashboardAgent"], False),
        (["/x/raylet", "--python_worker_command=default"], False),
        ([], False),
    ],
)
def test_agents_and_raylets_are_no_workers(command: list[str], worker: bool) -> None:
    assert is_worker(command) is worker


def test_cpu_seconds_never_go_back() -> None:
    watch = Watch()
    before = watch.cpu_seconds()
    assert sum(range(10**6)) and watch.cpu_seconds() >= before - 0.02
