from __future__ import annotations

import importlib

import pytest

from jobs.__main__ import job_names, main


def test_every_job_is_listed_with_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    shown = capsys.readouterr().out
    for name in job_names():
        module = importlib.import_module(f"jobs.{name}")
        assert f"python -m jobs.{name} " in shown and (module.__doc__ or "").splitlines()[0] in shown
        assert callable(module.main)


def test_what_is_no_job_is_not_listed() -> None:
    assert {"all", "train", "watch_spot"} <= set(job_names()) and not {"entry", "__init__"} & set(job_names())


def test_the_version_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0 and capsys.readouterr().out.startswith("xelm-ray ")
