"""Errors of a replica, as they come through Ray."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayTaskError

from app.core.errors import Overloaded
from serve.handles import HandleBackend, own_error
from serve.replay import ReplicaLost


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
    assert all(isinstance(own_error(error), ReplicaLost) for error in gone)
