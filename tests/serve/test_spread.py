"""Each model in a process of its own, in a Ray that really starts."""

from __future__ import annotations

import asyncio
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ray.exceptions import ActorDiedError, NodeDiedError, OutOfMemoryError, RayTaskError
from ray.serve.exceptions import DeploymentUnavailableError

from app.artifacts.store import Store
from app.ensemble.client import Feed, Reply
from app.ensemble.expert_host import Ask
from app.ensemble.remote_client import Gone, Unreachable
from app.ensemble.sampling import Sampling
from benchmarks.served import Served, serve_config
from serve.loading import load_ensemble
from serve.messages import Job, Mixing, Piece
from serve.replica import Replica
from serve.spread import HandleLink, deploy_models
from tests.serve.test_handles import Api
from tests.support.whole_run import WholeRun

BODY = {"prompt": "12 ", "max_tokens": 48, "temperature": 0, "xelm": {"weighting": "uniform"}}


class Answer:
    """A handle whose calls end in one way."""

    def __init__(self, error: Exception) -> None:
        self._error = error
        self.run = self

    def options(self, **_: object) -> Answer:
        """Itself."""
        return self

    def remote(self, *_: object) -> Answer:
        """Itself."""
        return self

    def result(self, **_: object) -> list[Reply | None]:
        """Never."""
        raise self._error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ActorDiedError(), Unreachable),
        (NodeDiedError("its machine is gone"), Unreachable),
        (OutOfMemoryError("its machine had no memory left"), Unreachable),
        (TimeoutError(), Unreachable),
        (DeploymentUnavailableError("model"), Gone),
        (RayTaskError("run", "Traceback", ValueError("x")), RayTaskError),
    ],
)
def test_a_call_may_be_made_again_unless_the_expert_is_gone_or_has_failed_by_itself(
    error: Exception, expected: type[Exception]
) -> None:
    wait = HandleLink(Answer(error)).send("caller", [Ask(1, Feed(0, 0, [0], 0))])
    with pytest.raises(expected) as raised:
        wait()
    assert type(raised.value) is expected


def packed_text(root: Path) -> str:
    """The text by all models in this process."""
    replica = Replica(load_ensemble(Store(str(root)), "tiny"), slots=1)
    job = Job("ensemble", ("12 ",), Sampling(48, temperature=0.0), mixing=Mixing(weighting="uniform"))

    async def collected() -> str:
        pieces = [event async for batch in replica.answer(job) for event in batch.events if isinstance(event, Piece)]
        return "".join(token.piece for piece in pieces for token in piece.tokens)

    try:
        return asyncio.run(collected())
    finally:
        replica.close()


def test_calls_between_deployments_are_not_logged(tmp_path: Path) -> None:
    deployed = deploy_models(Store(str(tmp_path)), {"dense": "k"}, 1, 2, None, 1.0, 0.0)["dense"]._bound_deployment
    assert deployed._deployment_config.logging_config["enable_access_log"] is False


@pytest.mark.cluster
@pytest.mark.timeout(400)
def test_spread_models_write_what_packed_ones_write_also_when_one_is_killed(whole_run: WholeRun) -> None:
    args = {"run": "tiny", "root": str(whole_run.root), "placement": "spread", "slots": 2, "cpus": 0.1}
    with Served(1, {"XELM_API_KEYS": "key"}) as served:
        served.deploy(serve_config(served.port, **args))
        served.settle()
        there, expected = Api(served.port), packed_text(whole_run.root)
        assert there.text(BODY) == expected and len(expected) > 20
        (expert,) = [name for name in served.deployments() if name.startswith("model-expert-01-")]
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(there.text, BODY)
            os.kill(next(iter(served.pids(expert).values())), signal.SIGKILL)
            assert answer.result() == expected
        assert there.text(BODY) == expected
