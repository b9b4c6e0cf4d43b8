"""The application as Serve runs it: from the file in deploy/, in a Ray that really starts."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import yaml
from fastapi.testclient import TestClient
from ray.serve import Application, Deployment
from ray.serve._private.constants import REPLICA_HEALTH_CHECK_UNHEALTHY_THRESHOLD
from ray.serve.schema import ServeDeploySchema

from app.artifacts.ensemble import EnsembleRecord, write_ensemble
from app.artifacts.store import Store
from app.core.errors import ConfigError, MissingArtifact, ServingError
from app.ensemble.sampling import Sampling
from benchmarks.processes import kill_family
from serve import builder
from serve.builder import ServingOptions, app
from serve.limits import UNREAD_S, ServingLimits
from serve.messages import Job
from serve.replay import WAITS_S
from tests.support.serving import chunks
from tests.support.source import ROOT
from tests.support.whole_run import WholeRun

CONFIG: dict[str, Any] = yaml.safe_load((ROOT / "deploy/serve.yaml").read_text(encoding="utf-8"))
MANY = Job("ensemble", ["x"] * 65, Sampling(1), n=2)
RECORD = EnsembleRecord("r", (), "allocation", "tokenizer", {})


def test_ray_accepts_the_config_and_it_listens_on_the_loopback_outside_rays_own_ports() -> None:
    parsed = ServeDeploySchema.model_validate(CONFIG)
    assert parsed.applications[0].import_path == "serve.builder:app"
    http = CONFIG["http_options"]
    assert http["host"] == "127.0.0.1" and not 10002 <= http["port"] <= 19999


@pytest.mark.parametrize("file", ["deploy/serve.yaml", "deploy/kuberay/rayservice.yaml", "docs/howto/serve.md"])
def test_rays_proxy_waits_longer_than_the_server_itself(file: str) -> None:
    (proxy,) = re.findall(r"request_timeout_s: (\d+)", (ROOT / file).read_text(encoding="utf-8"))
    assert float(proxy) > ServingLimits().longest_s == 30 + 60 + 300 + 10


@pytest.mark.parametrize(
    ("args", "message"), [({"rum": "demo"}, "argument rum"), ({"replicas": "x"}, "argument replicas")]
)
def test_wrong_arguments_are_named(args: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        app(args)


@pytest.mark.parametrize(
    ("args", "options"),
    [
        ({"replicas": 2}, {"num_replicas": 2}),
        (
            {"replicas": 2, "max_replicas": 5, "slots": 7},
            {"autoscaling_config": {"min_replicas": 2, "max_replicas": 5, "target_ongoing_requests": 7}},
        ),
    ],
)
def test_replicas_are_as_many_as_asked_for_or_follow_the_requests(args: dict[str, Any], options: object) -> None:
    assert ServingOptions.model_validate(args).scaling() == options
    with pytest.raises(ConfigError, match="max_replicas is 1, less than the 2"):
        app({"replicas": 2, "max_replicas": 1})


@pytest.fixture
def written(tmp_path: Path) -> str:
    """A store whose run ``r`` has an ensemble of version 1, without any model."""
    write_ensemble(Store(str(tmp_path)).run("r"), RECORD)
    return str(tmp_path)


def bound(application: Application) -> tuple[Deployment, Deployment]:
    """The ingress and the models, as Serve is given them."""
    ingress = application._bound_deployment
    return ingress, ingress.init_args[0]._bound_deployment


def test_the_version_is_the_one_that_was_current_at_the_deployment(written: str) -> None:
    application = app({"run": "r", "root": written})
    write_ensemble(Store(written).run("r"), replace(RECORD, mixing={"name": "uniform"}))
    ingress, models = bound(application)
    assert models.init_args[0].version == ingress.init_args[1].version == 1
    assert bound(app({"run": "r", "root": written}))[1].init_args[0].version == 2
    with pytest.raises(MissingArtifact, match="make demo"):
        app({"run": "nowhere", "root": written})


@pytest.mark.parametrize(("limits", "texts"), [({"waiting": 3}, 8), ({"waiting": 3, "texts": 2}, 2), ({}, 128)])
def test_a_request_that_no_replica_could_take_is_refused_by_name(
    written: str, limits: dict[str, int], texts: int
) -> None:
    ingress, models = bound(app({"run": "r", "root": written, "slots": 5, "limits": limits}))
    found = ingress.init_args[1].limits
    assert found.texts == texts and models.init_args[0].limits.texts == limits.get("texts", 128)
    found.require_within(Job("ensemble", ["x"] * texts, Sampling(1)))
    with pytest.raises(ServingError, match=f"more than the {texts} that this server allows"):
        found.require_within(Job("ensemble", ["x"], Sampling(1), n=texts + 1) if texts < 16 else MANY)


def test_all_that_is_asked_reaches_the_engine_which_refuses_what_is_too_much(written: str) -> None:
    args = {"run": "r", "root": written, "slots": 1, "limits": {"waiting": 1, "concurrent": 30}}
    ingress, models = bound(app(args))
    most = ingress._deployment_config.max_ongoing_requests
    assert most > 30 and models._deployment_config.max_ongoing_requests >= 2 * most


def test_a_replica_whose_engine_has_stopped_is_replaced_before_its_requests_give_up(written: str) -> None:
    _, models = bound(app({"run": "r", "root": written}))
    assert REPLICA_HEALTH_CHECK_UNHEALTHY_THRESHOLD * models._deployment_config.health_check_period_s < sum(WAITS_S) / 2


def test_what_was_begun_is_ended_before_a_replica_goes(written: str) -> None:
    limits = {"body_s": 50, "loading_s": 70, "timeout_s": 400}
    ingress, models = bound(app({"run": "r", "root": written, "limits": limits}))
    assert ingress._deployment_config.graceful_shutdown_timeout_s > 50 + 70 + 400 + UNREAD_S
    assert models._deployment_config.graceful_shutdown_timeout_s > 400


@pytest.mark.parametrize(("keys", "allowed", "any_host"), [("", False, False), ("", True, True), ("key", False, True)])
def test_without_keys_or_a_word_only_this_machine_is_answered_for(
    monkeypatch: pytest.MonkeyPatch, keys: str, allowed: bool, any_host: bool
) -> None:
    monkeypatch.setattr(builder, "keys_of", lambda: tuple(filter(None, [keys])))
    monkeypatch.setattr(builder, "_get_global_client", lambda: None)
    monkeypatch.setattr(builder, "require_keys", lambda *_: None)
    ingress = builder.Ingress(Mock(), ServingOptions(allow_without_keys=allowed))
    with TestClient(ingress.__serve_build_asgi_app__()) as client:
        assert client.get("/health").status_code == (200 if any_host else 403)


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_a_run_is_served_and_answers_over_http(whole_run: WholeRun, tmp_path: Path) -> None:
    (tmp_path / "artifacts").symlink_to(whole_run.root)
    config = {**CONFIG, "http_options": {**CONFIG["http_options"], "port": 28431}}
    args = {"run": "tiny", "root": "artifacts", "version": 1, "slots": 2, "cpus": 0.5}
    config["applications"] = [{**CONFIG["applications"][0], "args": args}]
    del config["logging_config"]  # as `serve run serve.builder:app` starts it
    (tmp_path / "serve.yaml").write_text(yaml.safe_dump(config))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0", "XELM_API_KEYS": "key"}
    command = [str(Path(sys.executable).parent / "serve"), "run", "serve.yaml"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log)
    try:
        found = json.loads(_asked("/v1/models", None, process, tmp_path))["data"][0]
        assert found["id"] == "ensemble" and found["xelm"]["run"] == "tiny" and found["xelm"]["version"] == 1
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen("http://127.0.0.1:28431/v1/models", timeout=60)
        body = {"prompt": ["12 ", "Januar"], "max_tokens": 12, "temperature": 0, "xelm": {"language": "de"}}
        whole = json.loads(_asked("/v1/completions", body, process, tmp_path))
        assert whole["usage"]["completion_tokens"] <= 24 and len(whole["choices"]) == 2
        parts = chunks(_asked("/v1/completions", {**body, "stream": True}, process, tmp_path))
        for choice in whole["choices"]:
            mine = [part["choices"][0] for part in parts if part["choices"][0]["index"] == choice["index"]]
            assert "".join(one["text"] for one in mine) == choice["text"]
        for stream in (False, True):
            with pytest.raises(urllib.error.HTTPError, match="400") as refused:
                _ask("/v1/completions", {**body, "stream": stream, "xelm": {"language": "tlh"}})
            message = json.loads(refused.value.read())["error"]["message"]
            assert message.startswith("language 'tlh' belongs to no expert") and "Traceback" not in message
        assert "xelm_made_tokens_total" in _asked("/metrics", None, process, tmp_path)
        said = (tmp_path / "log").read_text()
        assert "POST /v1/completions 200" in said and "CALL " not in said and "Loading weights" not in said
    finally:
        kill_family(process)


def _ask(path: str, body: dict[str, Any] | None) -> str:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": "Bearer key", "content-type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:28431{path}", data, headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        text: str = answer.read().decode()
        return text


def _asked(path: str, body: dict[str, Any] | None, process: subprocess.Popen[bytes], folder: Path) -> str:
    """The answer, once there is one."""
    deadline = time.monotonic() + 240
    while True:
        try:
            return _ask(path, body)
        except OSError as error:
            said = (folder / "log").read_text()[-3000:]
            assert process.poll() is None and time.monotonic() < deadline, f"{error}\n{said}"
            time.sleep(0.5)
