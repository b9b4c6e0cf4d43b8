from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from app.artifacts.store import Store
from app.config.schema import Config
from app.core.errors import StorageError
from app.core.records import JsonObject
from jobs.__main__ import job_names
from jobs.entry import Step, run_job

SAID = "s3://KEY:hidden@bucket refuses"
_LOGGING_JOB = f"""
import logging
from jobs.entry import run_job
run_job("x", [], "", lambda: lambda c, s: logging.getLogger("lib").warning("{SAID}") or {{}})
"""
_HEAVY = ("ray", "torch", "transformers", "pyarrow", "sklearn")


def _gives(result: JsonObject) -> Step:
    return lambda _config, _store: result


def test_an_error_that_repeats_a_secret_is_shown_without_it(capsys: pytest.CaptureFixture[str]) -> None:
    def refused(_config: Config, _store: Store) -> JsonObject:
        raise StorageError(SAID)

    assert run_job("x", [], "", lambda: refused) == 1
    shown = capsys.readouterr().err
    assert "bucket refuses" in shown and "hidden" not in shown


def test_a_library_that_logs_a_secret_is_shown_without_it() -> None:
    command = [sys.executable, "-c", _LOGGING_JOB]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "bucket refuses" in done.stderr and "hidden" not in done.stderr


@pytest.mark.parametrize(("result", "status"), [({"ok": True}, 0), ({"ok": False}, 1), ({}, 0)])
def test_a_result_that_is_not_ok_is_printed_and_is_status_1(
    result: JsonObject, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_job("x", [], "", lambda: _gives(result)) == status
    assert "job: x" in capsys.readouterr().out


def test_what_a_library_prints_is_not_taken_for_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    def talks(_config: Config, _store: Store) -> JsonObject:
        print("(raylet) a node has joined")
        return {"done": True}

    assert run_job("x", ["--format", "json"], "", lambda: talks) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["done"] is True and "(raylet)" in printed.err


@pytest.mark.parametrize("changes_run", [True, False])
def test_a_job_that_changes_a_run_holds_its_lease_meanwhile(
    changes_run: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def works(config: Config, store: Store) -> JsonObject:
        run = store.run(config.run.name)
        return {"holder": run.read_json("driver.json")["what"] if run.exists("driver.json") else None}

    options = ["--format", "json", f"--set=artifacts.root={tmp_path}"]
    assert run_job("x", options, "", lambda: works, changes_run=changes_run) == 0
    assert json.loads(capsys.readouterr().out)["holder"] == ("jobs.x" if changes_run else None)
    assert not (tmp_path / "runs/demo/driver.json").exists()


def test_a_stop_of_before_is_no_stop_of_a_job_that_begins_and_one_of_meanwhile_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Store(str(tmp_path)).run("demo")
    run.write_json("stop.json", {"reason": "of yesterday"})

    def works(_config: Config, _store: Store) -> JsonObject:
        was_there = run.exists("stop.json")
        run.write_json("stop.json", {"reason": "now"})
        return {"was_there": was_there}

    assert (
        run_job("x", ["--format", "json", f"--set=artifacts.root={tmp_path}"], "", lambda: works, changes_run=True) == 0
    )
    assert json.loads(capsys.readouterr().out)["was_there"] is False
    assert run.read_json("stop.json") == {"reason": "now"}


@pytest.mark.parametrize("job", ["merge", "import_experts"])
def test_jobs_that_write_versions_change_their_run(job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, given = import_module(f"jobs.{job}"), {}
    monkeypatch.setattr(module, "run_job", lambda *_, **options: given.update(options) or 0)
    assert module.main([]) == 0 and given["changes_run"] is True


def test_an_error_while_the_work_is_imported_is_one_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    def missing() -> Step:
        raise ModuleNotFoundError("No module named 'torch'")

    assert run_job("x", [], "", missing) == 1
    shown = capsys.readouterr().err
    assert "x: ModuleNotFoundError: No module named 'torch'" in shown and "Traceback" not in shown


def test_ctrl_c_is_status_130(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(_config: Config, _store: Store) -> JsonObject:
        raise KeyboardInterrupt

    assert run_job("x", [], "", lambda: interrupted) == 130
    assert "run the same command again" in capsys.readouterr().err


@pytest.mark.parametrize("job", job_names())
def test_help_loads_no_heavy_library(job: str) -> None:
    program = (
        f"import sys\nfrom jobs.{job} import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {_HEAVY} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]" and f"python -m jobs.{job}" in done.stdout
