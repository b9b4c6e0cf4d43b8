"""A long job as a process, with a stand-in for its work: started twice, interrupted, on a machine too small for it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

_JOB = """
import sys, time
from pathlib import Path
from jobs.entry import run_job

done, go = Path(sys.argv[1]), Path(sys.argv[2])

def work(config, store):
    began = time.time()
    print("at work", flush=True, file=sys.__stdout__)
    if not done.exists():
        while not go.exists():
            time.sleep(0.1)
        done.write_text("once")
    with done.with_suffix(".log").open("a") as log:
        log.write(f"{began} {time.time()}\\n")
    return {"made": done.read_text()}

sys.exit(run_job("x", sys.argv[3:], "", lambda: work, is_long=True))
"""


def start(tmp_path: Path, *more: str) -> subprocess.Popen[str]:
    options = ["--set", f"artifacts.root={tmp_path / 'root'}", *more]
    command = [sys.executable, "-c", _JOB, str(tmp_path / "done"), str(tmp_path / "go"), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_same_command_twice_does_the_work_once_and_both_end_with_the_result(tmp_path: Path) -> None:
    first_job = start(tmp_path)
    assert first_job.stdout is not None and first_job.stdout.readline() == "at work\n"
    second_job = start(tmp_path)
    assert second_job.stderr is not None
    assert any("waiting: jobs.x works at this on" in line for line in second_job.stderr)
    (tmp_path / "go").touch()
    jobs = [first_job, second_job]
    ended = [job.communicate(timeout=150) for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], [err for _, err in ended]
    assert all("made: once" in out for out, _ in ended)
    first, second = sorted(tuple(map(float, row.split())) for row in (tmp_path / "done.log").read_text().splitlines())
    assert second[0] >= first[1]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_a_signal_while_nothing_trains_ends_the_job_at_once(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    job = start(tmp_path)
    assert job.stdout is not None and job.stdout.readline() == "at work\n"
    began = time.monotonic()
    job.send_signal(number)
    _, err = job.communicate(timeout=60)
    assert job.returncode == status and time.monotonic() - began < 20
    assert "ending" in err and "run the same command again to continue" in err and "Traceback" not in err
    assert not (tmp_path / "root/runs/demo/driver.json").exists()


def test_what_cannot_run_is_refused_before_the_work(tmp_path: Path) -> None:
    job = start(tmp_path, "--set", "cluster.cpus=1", "--set", "training.cpus_per_expert=2")
    out, err = job.communicate(timeout=60)
    assert job.returncode == 1 and "at work" not in out and "fits no node" in err and "Traceback" not in err
