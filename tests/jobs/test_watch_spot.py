from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from app.fleet import drain
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


class _Ray:
    """Ray as it is joined: away so many times before it is there."""

    def __init__(self, away: int) -> None:
        self.away, self.ended = away, 0

    def init(self, **_: object) -> None:
        """As Ray's own where there is none."""
        if self.away:
            self.away -= 1
            raise ConnectionError("Could not find any running Ray instance.\nPlease specify the one to connect to.")

    def shutdown(self) -> None:
        self.ended += 1

    def get_runtime_context(self) -> SimpleNamespace:
        return SimpleNamespace(gcs_address="here", get_node_id=lambda: "node")


@pytest.mark.parametrize(("away", "seconds", "status"), [(3, 60.0, 0), (10**6, 0.3, 2)])
def test_a_ray_that_is_away_is_asked_again_until_the_deadline(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], away: int, seconds: float, status: int
) -> None:
    drained, fake = list[str](), _Ray(away)
    monkeypatch.setattr(drain, "ray", fake)
    monkeypatch.setattr(drain, "_RETRY_SECONDS", 0.05)
    monkeypatch.setattr(drain, "drain_node", lambda _gcs, node, _notice: drained.append(node))
    assert watch_spot.main(["--leaving-in", str(seconds)]) == status
    assert drained == ([] if status else ["node"]) and fake.ended > 1
    told = capsys.readouterr().err
    assert ("not drained: Could not find any running Ray instance.; what runs" in told) == bool(status)
    assert "Traceback" not in told
