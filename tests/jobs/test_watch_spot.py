from __future__ import annotations

import time

import pytest

from app.training.notices import Notice
from jobs import watch_spot


def test_a_node_that_is_stopped_is_drained_at_once_with_the_time_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    drained: list[tuple[str, Notice]] = []
    monkeypatch.setattr("app.fleet.drain.drain_this_node", lambda address, notice: drained.append((address, notice)))
    assert watch_spot.main(["--leaving-in", "110", "--address", "10.0.0.1:6379"]) == 0
    ((address, notice),) = drained
    assert address == "10.0.0.1:6379" and notice.deadline == pytest.approx(time.time() + 110, abs=5)


@pytest.mark.parametrize("arguments", [[], ["--cloud", "aws", "--leaving-in", "5"]])
def test_either_a_cloud_is_watched_or_a_time_is_given(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        watch_spot.main(arguments)
    assert ended.value.code == 2 and "--leaving-in" in capsys.readouterr().err
