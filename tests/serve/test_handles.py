"""Errors of a replica, as they come through Ray; and a Ray whose replicas are killed and replaced."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, OutOfMemoryError, RayTaskError
from ray.serve.exceptions import DeploymentUnavailableError

from app.artifacts.ensemble import write_ensemble
from app.artifacts.store import Store
from app.core.errors import Overloaded
from app.ensemble.remote_client import Unreachable
from app.ensemble.sampling import Sampling
from benchmarks.served import Served, serve_config, two_versions
from serve.handles import HandleBackend, own_error
from serve.messages import Job
from serve.replay import NotLoaded, ReplicaLost
from tests.support.serving import chunks
from tests.support.whole_run import WholeRun

BODY: dict[str, Any] = {
    "prompt": [f"{day} " for day in range(1, 17)],
    "max_tokens": 50,
    "temperature": 0,
    "presence_penalty": 1,
    "logit_bias": {"0": -100},
}
"""Texts that no end token ends, more than run at once."""


@pytest.mark.parametrize("cause", [Overloaded("9 wait"), ValueError("x")])
def test_an_error_of_a_replica_keeps_its_kind_and_loses_rays_traceback(cause: Exception) -> None:
    class Lost:
        @property
        def remote(self) -> Any:
            async def failing(*_: object) -> None:
                raise RayTaskError("models", "Traceback: secret", cause).as_instanceof_cause()

            return failing

    handle = type("Handle", (), {"encode": Lost()})()
    with pytest.raises(type(cause)) as raised:
        asyncio.run(HandleBackend(handle).encode("x", True))
    assert raised.value is cause


def test_a_replica_that_is_gone_is_told_from_one_that_refuses() -> None:
    gone = [ActorDiedError(), ActorUnavailableError("x", None), RayTaskError("f", "t", ActorDiedError())]
    gone.append(RayTaskError("f", "t", Unreachable("an expert of its")))
    gone.append(OutOfMemoryError("its machine had no memory left"))
    assert all(isinstance(own_error(error), ReplicaLost) for error in gone)


def test_models_that_serve_has_given_up_are_not_there() -> None:
    class Failed:
        def options(self, **_: object) -> Failed:
            """Itself."""
            return self

        def remote(self, *_: object) -> Failed:
            """Itself."""
            return self

        def cancel(self) -> None:
            """Nothing."""

        def __await__(self) -> Any:
            raise DeploymentUnavailableError("models")

        async def __aiter__(self) -> Any:
            raise DeploymentUnavailableError("models")
            yield

    handle = Failed()
    handle.encode = handle.describe = handle.answer = handle  # type: ignore[attr-defined]
    backend = HandleBackend(handle)

    async def answered() -> None:
        async for _ in backend.answer(Job("ensemble", ["x"], Sampling(1))):
            pass

    for call in (backend.describe, lambda: backend.encode("x", True), answered):
        with pytest.raises(NotLoaded, match="could not be started; see `serve status`"):
            asyncio.run(call())


@pytest.mark.rare
@pytest.mark.timeout(600)
def test_a_run_is_served_over_http_through_a_kill_and_a_live_change(whole_run: WholeRun, tmp_path: Path) -> None:
    root, _ = two_versions(whole_run.root, "tiny", tmp_path)
    args = {"run": "tiny", "root": root, "replicas": 2, "slots": 2, "cpus": 0.25}
    with Served(1, {"XELM_API_KEYS": "key"}) as served:
        served.deploy(serve_config(served.port, version=1, **args))
        served.settle()
        there = Api(served.port)
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{there.base}/v1/models", timeout=60)
        with pytest.raises(urllib.error.HTTPError, match="400") as refused:
            there.ask("/v1/completions", {**BODY, "stream": True, "xelm": {"language": "tlh"}})
        message = json.loads(refused.value.read())["error"]["message"]
        assert message.startswith("language 'tlh' belongs to no expert") and "Traceback" not in message
        undisturbed = there.told(stream=False)
        assert undisturbed["version"] == 1 and there.told(stream=True)["text"] == undisturbed["text"]

        with ThreadPoolExecutor(4) as pool:
            answers = [pool.submit(there.told, number < 3) for number in range(4)]
            while there.metric("xelm_requests_answering") < 4:
                time.sleep(0.05)
            os.kill(next(iter(served.pids("models").values())), signal.SIGKILL)
            assert [answer.result()["text"] for answer in answers] == [undisturbed["text"]] * 4
            assert there.metric("xelm_jobs_taken_over_total") >= 1
            served.settle()

            answers = [pool.submit(there.told, number < 3) for number in range(4)]
            while there.metric("xelm_requests_answering") < 4:
                time.sleep(0.05)
            served.deploy(serve_config(served.port, version=2, **args))
            found = [answer.result() for answer in answers]
            deadline = time.monotonic() + 120
            while found[-1]["version"] == 1 and time.monotonic() < deadline:
                found.append(there.told(stream=False))
        served.settle()
        found.append(there.told(stream=True))
        texts = {version: {one["text"] for one in found if one["version"] == version} for version in (1, 2)}
        assert texts[1] == {undisturbed["text"]} and len(texts[2]) == 1 and texts[1] != texts[2]
        assert json.loads(there.ask("/v1/models"))["data"][0]["xelm"]["version"] == 2


class Api:
    """What is served at a port, asked with the key."""

    def __init__(self, port: int) -> None:
        self.base = f"http://127.0.0.1:{port}"

    def ask(self, path: str, body: dict[str, Any] | None = None) -> str:
        """The answer. Raises HTTPError."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": "Bearer key", "content-type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(self.base + path, data, headers), timeout=120) as answer:
            text: str = answer.read().decode()
            return text

    def text(self, body: dict[str, Any]) -> str:
        """Of the first choice."""
        text: str = json.loads(self.ask("/v1/completions", body))["choices"][0]["text"]
        return text

    def told(self, stream: bool) -> dict[str, Any]:
        """Texts and version of a long greedy answer."""
        answer = self.ask("/v1/completions", {**BODY, "stream": stream})
        parts = [one for part in (chunks(answer) if stream else [json.loads(answer)]) for one in part["choices"]]
        texts = ["".join(part["text"] for part in parts if part["index"] == i) for i in range(len(BODY["prompt"]))]
        return {"text": tuple(texts), "version": parts[-1]["xelm"]["version"]}

    def metric(self, name: str) -> float:
        """A number of /metrics."""
        lines = self.ask("/metrics").splitlines()
        return float(next(line for line in lines if line.startswith(f"{name} ")).split()[1])


def status(there: Api, body: dict[str, Any]) -> tuple[int, str]:
    """Of an answer; with its text, or what it says of coming again."""
    try:
        return 200, there.text(body)
    except urllib.error.HTTPError as error:
        return error.code, error.headers.get("Retry-After") or ""


@pytest.mark.rare
@pytest.mark.timeout(900)
def test_more_than_fits_is_429_and_a_change_to_what_cannot_start_is_503_until_the_next(
    whole_run: WholeRun, tmp_path: Path
) -> None:
    root, record = two_versions(whole_run.root, "tiny", tmp_path)
    lost = replace(record, version=0, experts=(replace(record.experts[0], model="gone"), *record.experts[1:]))
    third = write_ensemble(Store(root).run("tiny"), lost).version
    limits = {"waiting": 2, "loading_s": 2, "timeout_s": 20}
    args = {"run": "tiny", "root": root, "replicas": 1, "slots": 1, "cpus": 0.25, "limits": limits}
    with Served(1, {"XELM_API_KEYS": "key"}) as served:
        served.deploy(serve_config(served.port, version=1, **args))
        served.settle()
        there, one = Api(served.port), {**BODY, "prompt": "1 "}
        undisturbed = there.text(one)
        with ThreadPoolExecutor(16) as pool:
            found = list(pool.map(lambda _: status(there, one), range(16)))
        assert {code for code, _ in found} == {200, 429}
        assert all(said == undisturbed if code == 200 else said for code, said in found)

        served.deploy(serve_config(served.port, version=third, **args))
        deadline, seen = time.monotonic() + 400, {200}
        while 503 not in seen and time.monotonic() < deadline:
            seen.add(status(there, one)[0])
            time.sleep(1)
        # While Serve still tries to start the models a request waits for them, up to timeout_s.
        assert 503 in seen and seen <= {200, 503, 504}
        with pytest.raises(urllib.error.HTTPError, match="503") as refused:
            there.ask("/ready")
        assert "Traceback" not in refused.value.read().decode()

        served.deploy(serve_config(served.port, version=2, **args))
        served.settle()
        assert status(there, one)[0] == 200
