from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from app.artifacts import lease
from app.artifacts.lease import held, is_alive, left_to_make, read_holder
from app.artifacts.manifest import Manifest
from app.artifacts.store import Folder, Store
from app.core.errors import StorageError
from app.core.records import JsonObject

NAME = "driver.json"
_HOLD = """
import sys, time
from app.artifacts.lease import held
from app.artifacts.store import Folder
with held(Folder(sys.argv[1]), "driver.json", "another"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(params=["local", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    return Folder(str(tmp_path) if request.param == "local" else f"memory://{tmp_path.name}")


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.2)
    monkeypatch.setattr(lease, "_SETTLE_SECONDS", 0.1)


def test_two_at_once_work_one_after_the_other(folder: Folder) -> None:
    inside: list[str] = []

    def work(name: str) -> None:
        with held(folder, NAME, name):
            inside.append(f"{name} in")
            time.sleep(0.5)
            inside.append(f"{name} out")

    threads = [threading.Thread(target=work, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first, second = inside[0][0], inside[2][0]
    assert inside == [f"{first} in", f"{first} out", f"{second} in", f"{second} out"] and first != second
    assert read_holder(folder, NAME) is None


def test_a_holder_of_another_machine_that_stops_beating_is_replaced(folder: Folder) -> None:
    folder.write_json(NAME, {"id": "x", "host": "gone", "place": "gone", "pid": 1, "what": "jobs.all", "time": 0.0})
    began = time.monotonic()
    with held(folder, NAME, "mine"):
        assert time.monotonic() - began >= 1.0
        holder = read_holder(folder, NAME)
        assert holder is not None and holder["what"] == "mine" and is_alive(holder)


def test_a_holder_that_was_killed_here_is_known_to_be_dead_at_once(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", _HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        holder = read_holder(folder, NAME)
        assert holder is not None and holder["pid"] == other.pid
        other.kill()
        other.wait()
    assert not is_alive({**holder, "time": time.time()})
    with held(folder, NAME, "mine"):
        assert (read_holder(folder, NAME) or {})["what"] == "mine"


def test_a_holder_that_beats_is_alive_and_one_that_does_not_is_dead() -> None:
    holder = {"id": "x", "host": "far", "place": "far", "pid": 1, "what": "jobs.all"}
    assert is_alive({**holder, "time": time.time()}) and not is_alive({**holder, "time": time.time() - 5})


def test_a_waiter_goes_on_when_the_holder_ends_between_two_looks_and_when_the_storage_is_away_for_a_moment(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.write_json(
        NAME, {"id": "x", "host": "h", "place": "elsewhere", "pid": 1, "what": "jobs.x", "time": time.time()}
    )
    read, looks = Folder.read_json, iter(["there", "away", "gone"])

    def reading(where: Folder, name: str) -> JsonObject:
        look = next(looks, "")
        if look == "away":
            raise StorageError("no network")
        if look == "gone":  # removed after it was seen to be there
            where.remove(name)
        return read(where, name)

    monkeypatch.setattr(Folder, "read_json", reading)
    with held(folder, NAME, "jobs.y"):
        assert read(folder, NAME)["what"] == "jobs.y"


def test_of_two_runs_that_need_a_stage_one_makes_it_and_the_other_finds_it(tmp_path: Path) -> None:
    stage, left = Store(str(tmp_path)).stage("shards", "s"), list[bool]()

    def run() -> None:
        with left_to_make(stage, "jobs.shard") as is_left:
            left.append(is_left)
            if is_left:
                time.sleep(0.5)
                stage.publish(Manifest("shards", "s", {}, {}, {}))

    both = [threading.Thread(target=run) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    run()
    assert sorted(left) == [False, False, True] and stage.names() == ["DONE", "manifest.json"]
