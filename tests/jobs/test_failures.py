from __future__ import annotations

import re
from pathlib import Path

import pytest
from ray.exceptions import RayTaskError

from app.core.errors import ConfigError, CorpusError, Interrupted, Preempted, StorageError, XelmError
from jobs.failures import explain

STATUS_OF = [
    (ConfigError, 2),
    (CorpusError, 1),
    (StorageError, 1),
    (Preempted, 75),
    (Interrupted, 130),
    (XelmError, 1),
]


@pytest.mark.parametrize(("kind", "status"), STATUS_OF)
def test_an_error_of_ours_is_its_message_and_its_status(kind: type[XelmError], status: int) -> None:
    assert explain(kind("what, where, cure"), "x") == ("what, where, cure", status)


def test_an_error_of_ours_is_found_in_what_ray_wraps_it_in() -> None:
    inner = RayTaskError("work", "Traceback ...\nmany lines", CorpusError("a.jsonl is torn"))
    assert explain(inner.as_instanceof_cause(), "x") == ("a.jsonl is torn", 1)


def test_an_error_of_ours_is_found_below_another() -> None:
    outer = RuntimeError("the stage failed")
    outer.__cause__ = ConfigError("k is wrong")
    assert explain(outer, "x") == ("k is wrong", 2)


def test_a_refusal_of_the_system_names_the_place_and_a_cure() -> None:
    with pytest.raises(OSError) as raised:
        Path("/proc/no/such").mkdir(parents=True)
    said, status = explain(raised.value, "x")
    assert status == 1 and "/proc/no" in said and "rights" in said and "Traceback" not in said


def test_any_other_error_is_one_line_and_its_traceback_is_kept_in_a_file_without_secrets() -> None:
    try:
        raise ZeroDivisionError("s3://KEY:hidden@bucket\nby zero")
    except ZeroDivisionError as error:
        said, status = explain(error, "x")
    assert status == 1 and said.startswith("ZeroDivisionError: ") and "\n" not in said and "hidden" not in said
    found = re.search(r"stands in (\S+)\)", said)
    assert found is not None
    kept = Path(found[1])
    text = kept.read_text()
    kept.unlink()
    assert "Traceback" in text and "by zero" in text and "hidden" not in text
