"""The models behind a handle of Serve: errors keep their kind, and a replica that dies is replaced by another."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any

from ray.exceptions import RayTaskError
from ray.serve.exceptions import DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from app.ensemble.remote_client import Unreachable
from serve.lost import LOST
from serve.messages import Batch, Description, Job
from serve.replay import NotLoaded, ReplicaLost, replayed, tried_again

_OF_RAY = (RayTaskError, DeploymentUnavailableError, *LOST)


class HandleBackend:
    """A Backend behind a handle of Serve. Errors are those that the replica raised, without Ray's account of them.

    What a replica was doing when it went away is done by another; ReplicaLost if that fails again and again. NotLoaded
    where Serve has given the models up.
    """

    def __init__(self, models: DeploymentHandle) -> None:
        self._models = models

    async def describe(self) -> Description:
        """See Backend."""
        found: Description = await self._asked(self._models.describe.remote)
        return found

    async def answer(self, job: Job) -> AsyncGenerator[Batch]:
        """See Backend."""
        # Without aclosing the inner generator would end only when it is collected, and the replica write on for nobody.
        async with aclosing(replayed(job, self._answer_of_one)) as batches:
            async for batch in batches:
                yield batch

    async def encode(self, text: str, with_start: bool) -> list[int]:
        """See Backend."""
        ids: list[int] = await self._asked(self._models.encode.remote, text, with_start)
        return ids

    async def decode(self, ids: Sequence[int]) -> str:
        """See Backend."""
        text: str = await self._asked(self._models.decode.remote, ids)
        return text

    async def _answer_of_one(self, job: Job) -> AsyncGenerator[Batch]:
        batches = self._models.options(stream=True).answer.remote(job)
        try:
            async for batch in batches:
                yield batch
        except _OF_RAY as error:
            raise own_error(error) from None
        finally:
            batches.cancel()  # to leave the generator does not end the call; after its end this does nothing

    async def _asked(self, remote: Callable[..., Any], *arguments: object) -> Any:
        async def once() -> Any:
            try:
                return await remote(*arguments)
            except _OF_RAY as error:
                raise own_error(error) from None

        return await tried_again(once)


def own_error(error: Exception) -> Exception:
    """What a replica raised, or that it or an expert of its is gone, or that there is none.

    The text of Ray's error is nobody's business.
    """
    if isinstance(error, RayTaskError) and not isinstance(error.cause, (*LOST, Unreachable)):
        return error.cause if isinstance(error.cause, Exception) else RuntimeError("a replica failed")
    if isinstance(error, DeploymentUnavailableError):
        return NotLoaded("the models could not be started; see `serve status` and the log of the deployment models")
    return ReplicaLost("the models' process went away, and so did those that were to go on; ask again")
