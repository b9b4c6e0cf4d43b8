"""Errors as OpenAI's API shapes them; a client never sees a traceback."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from app.core.errors import AllocationError, ConfigError, CorpusError, ServingError, XelmError

log = logging.getLogger(__name__)

_STATUSES: Mapping[type[XelmError], int] = {ServingError: 400, ConfigError: 400, AllocationError: 400, CorpusError: 400}


def problem(status: int, message: str, kind: str = "invalid_request_error", code: str | None = None) -> JSONResponse:
    """``{"error": {message, type, param, code}}``."""
    return JSONResponse({"error": {"message": message, "type": kind, "param": None, "code": code}}, status)


def install_problems(api: FastAPI) -> None:
    """Answer every error in OpenAI's shape."""

    @api.exception_handler(XelmError)
    async def ours(_request: Request, error: XelmError) -> JSONResponse:
        status = next((status for kind, status in _STATUSES.items() if isinstance(error, kind)), 500)
        if status == 500:
            log.error("request failed: %s", error)
            return problem(500, "the server cannot answer this now", "server_error")
        return problem(status, str(error))

    @api.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "body")
        return problem(400, f"{where or 'body'}: {first['msg']}")

    @api.exception_handler(HTTPException)
    async def http(_request: Request, error: HTTPException) -> JSONResponse:
        return problem(error.status_code, str(error.detail))

    @api.exception_handler(Exception)
    async def unexpected(_request: Request, error: Exception) -> JSONResponse:
        log.exception("unexpected error", exc_info=error)
        return problem(500, "the server failed on this request", "server_error")
