from __future__ import annotations

import logging
import os
import struct
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow.tracking import MlflowClient
from tensorboardX.proto.event_pb2 import Event

from app.core.errors import ConfigError
from app.training import trackers
from app.training.hooks import running
from app.training.trackers import Lenient, MlFlow, TensorBoard, TrackedModel, open_trackers, require_trackers
from tests.app.training.test_hooks import metrics


def tracked(tmp_path: Path) -> TrackedModel:
    return TrackedModel("demo", "expert-00", "abc123", tmp_path / "logs", {"learning_rate": 0.5})


def scalars(folder: Path) -> list[tuple[str, int, float]]:
    """(tag, step, value) of the events in a folder; a record is length, its checksum, data, its checksum."""
    found = []
    for file in sorted(folder.glob("events.*")):
        data, place = file.read_bytes(), 0
        while place < len(data):
            (length,) = struct.unpack_from("<Q", data, place)
            event = Event.FromString(data[place + 12 : place + 12 + length])
            found += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
            place += 12 + length + 4
    return found


def test_tensorboard_gets_every_scalar_against_its_step(tmp_path: Path) -> None:
    board = TensorBoard(tracked(tmp_path))
    with running([board], 0):
        for step in (1, 2):
            board.step(metrics(step))
    got = scalars(tmp_path / "logs")
    for step in (1, 2):
        assert ("train/loss", step, pytest.approx(5.0 / step)) in got
        assert ("train/learning_rate", step, pytest.approx(0.01)) in got
        assert ("train/gradient_norm", step, pytest.approx(1.5)) in got
        assert ("train/tokens_per_second", step, pytest.approx(1000.0)) in got
        assert ("train/loss_by_tokens", 100 * step, pytest.approx(5.0 / step)) in got
    assert len(got) == 10


@pytest.fixture
def mlflow_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return MlflowClient()


def test_a_model_that_is_resumed_continues_its_mlflow_run(tmp_path: Path, mlflow_client: MlflowClient) -> None:
    for resumed, steps in ((0, (1, 2)), (2, (3,))):
        board = MlFlow(tracked(tmp_path))
        with running([board], resumed):
            for step in steps:
                board.step(metrics(step))
    (run,) = mlflow_client.search_runs([mlflow_client.get_experiment_by_name("demo").experiment_id])
    history = mlflow_client.get_metric_history(run.info.run_id, "loss")
    assert [(m.step, m.value) for m in history] == [(1, 5.0), (2, 2.5), (3, pytest.approx(5 / 3))]
    assert run.info.run_name == "expert-00" and run.info.status == "FINISHED"
    assert run.data.tags["xelm.key"] == "abc123" and run.data.params == {"learning_rate": "0.5"}


def test_experts_that_start_together_share_one_mlflow_experiment(
    tmp_path: Path, mlflow_client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = mlflow_client.create_experiment("demo")
    real, looks = MlflowClient.get_experiment_by_name, iter([None])
    monkeypatch.setattr(
        MlflowClient, "get_experiment_by_name", lambda self, name: next(looks, real(self, name))
    )  # not there at the first look
    with running([MlFlow(tracked(tmp_path))], 0):
        pass
    assert len(mlflow_client.search_runs([made])) == 1


def test_a_model_that_is_resumed_continues_its_wandb_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    asked: list[dict[str, object]] = []
    real = wandb.init

    def recorded(**arguments: object) -> object:
        asked.append(arguments)
        return real(**arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(wandb, "init", recorded)
    for resumed in (0, 1):
        (board,) = open_trackers(["wandb"], tracked(tmp_path))
        with running([board], resumed):
            board.step(metrics(resumed + 1))
    assert [call["id"] for call in asked] == ["abc123", "abc123"] and {call["resume"] for call in asked} == {"allow"}
    assert asked[0]["group"] == "demo" and asked[0]["name"] == "expert-00" and asked[0]["project"] == "xelm"
    written = list((tmp_path / "logs" / "wandb").glob("offline-run-*-abc123/run-abc123.wandb"))
    assert written and all(file.stat().st_size > 0 for file in written)


def test_a_service_that_is_away_stops_nothing_but_its_own_curve(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[str] = []

    class Away:
        def start(self, step: int) -> None:
            calls.append("start")

        def step(self, metrics: object) -> None:
            calls.append("step")
            raise ConnectionError("no route to host")

        def close(self) -> None:
            calls.append("close")

    board = Lenient(Away())
    with caplog.at_level(logging.WARNING), running([board], 0):
        board.step(metrics(1))
        board.step(metrics(2))
    assert (
        calls == ["start", "step", "close"]
        and "no route to host" in caplog.text
        and caplog.text.count("Away failed") == 1
    )


def test_a_tracker_that_is_not_installed_is_refused_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        trackers.importlib.util, "find_spec", lambda name: None if name == "wandb" else SimpleNamespace()
    )
    require_trackers(["tensorboard", "prometheus"])
    with pytest.raises(ConfigError, match=r"names wandb.*not installed.*pip install .*\[wandb\]"):
        require_trackers(["tensorboard", "wandb"])


def test_only_the_trackers_asked_for_are_opened(tmp_path: Path) -> None:
    assert [type(hook) for hook in open_trackers(["prometheus", "tensorboard"], tracked(tmp_path))] == [TensorBoard]
    assert open_trackers([], tracked(tmp_path)) == []


def test_mlflow_as_pinned_is_refused_in_the_driver_where_it_would_write_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_ALLOW_FILE_STORE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match=r"names mlflow, which cannot be used.*set MLFLOW_TRACKING_URI"):
        require_trackers(["mlflow"])
    assert list(tmp_path.iterdir()) == []


def test_an_mlflow_server_that_is_away_is_known_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "7")
    started = time.monotonic()
    with pytest.raises(ConfigError, match="cannot be used"):
        require_trackers(["mlflow"])
    assert time.monotonic() - started < 30
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "7" and "MLFLOW_HTTP_REQUEST_TIMEOUT" not in os.environ


@pytest.mark.usefixtures("mlflow_client")
def test_a_tracker_that_works_is_let_through() -> None:
    require_trackers(["mlflow"])


def test_wandb_without_a_key_is_refused_and_offline_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refuses:
        def __init__(self, timeout: int) -> None:
            raise PermissionError("api_key not configured")

    monkeypatch.setattr("wandb.Api", Refuses)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    with pytest.raises(ConfigError, match=r"api_key not configured; set WANDB_API_KEY"):
        require_trackers(["wandb"])
    monkeypatch.setenv("WANDB_MODE", "offline")
    require_trackers(["wandb"])
