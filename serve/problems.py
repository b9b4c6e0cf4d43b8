"""Errors as OpenAI's API shapes them; a client never sees a traceback. One table says which error is which status."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from app.core.errors import AllocationError, ConfigError, CorpusError, Overloaded, ServingError
from serve.invalid import what_is_wrong
from serve.replay import NotLoaded, OtherRelease, ReplicaLost

log = logging.getLogger(__name__)


class UnknownModel(ServingError):
    """A model is asked for that is not served."""


STATUSES: Mapping[type[Exception], tuple[int, str, str | None]] = {
    Overloaded: (429, "rate_limit_error", "overloaded"),
    NotLoaded: (503, "server_error", "not_ready"),
    ReplicaLost: (503, "server_error", "replica_lost"),
    OtherRelease: (503, "server_error", "version_changed"),
    UnknownModel: (404, "invalid_request_error", "model_not_found"),
    ServingError: (400, "invalid_request_error", None),
    ConfigError: (400, "invalid_request_error", None),
    AllocationError: (400, "invalid_request_error", None),
    CorpusError: (400, "invalid_request_error", None),
    TimeoutError: (504, "server_error", "timeout"),
}
"""Error -> status, type and code of its answer; the first that fits. Anything else is a 500 without its message."""
_RETRY_AFTER = {429: "1", 503: "2"}


def described(error: BaseException) -> tuple[int, dict[str, object]]:
    """Status and body of an error; what is not in the table is logged and told to nobody."""
    for kind, (status, name, code) in STATUSES.items():
        if isinstance(error, kind):
            # asyncio's own TimeoutError has no message.
            return status, _body(str(error) or "the answer took too long", name, code)
    log.error("request failed", exc_info=error)
    return 500, _body("the server failed on this request", "server_error", None)


def problem(status: int, message: str, kind: str = "invalid_request_error", code: str | None = None) -> JSONResponse:
    """``{"error": {message, type, param, code}}``, with Retry-After where trying again helps."""
    return _response(status, _body(message, kind, code))


def problem_of(error: BaseException) -> JSONResponse:
    """The answer to an error."""
    return _response(*described(error))


def install_problems(api: FastAPI) -> None:
    """Answer every error in OpenAI's shape."""

    @api.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        return problem(400, what_is_wrong(error))

    # Starlette's class: its router raises that one, not FastAPI's subclass, for an unknown path or method.
    @api.exception_handler(HTTPException)
    async def http(_request: Request, error: HTTPException) -> JSONResponse:
        answer = problem(error.status_code, str(error.detail))
        answer.headers.update(error.headers or {})  # which methods there are
        return answer

    @api.exception_handler(Exception)
    async def ours(_request: Request, error: Exception) -> JSONResponse:
        return problem_of(error)

    for kind in STATUSES:  # an own handler each, so that the framework does not log them as crashes
        api.add_exception_handler(kind, ours)


def _body(message: str, kind: str, code: str | None) -> dict[str, object]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _response(status: int, body: dict[str, object]) -> JSONResponse:
    headers = {"Retry-After": _RETRY_AFTER[status]} if status in _RETRY_AFTER else None
    return JSONResponse(body, status, headers)
