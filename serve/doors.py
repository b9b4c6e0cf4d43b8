"""Who may come in, and with how much: hosts, API keys and the size of a body, before anything is parsed."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import ipaddress
import os
import re
from collections.abc import Mapping, Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.errors import ConfigError
from serve.problems import problem

API_KEYS = "XELM_API_KEYS"
"""Environment variable: keys that open the API, comma-separated."""
OPEN_PATHS = ("/health", "/ready")
# More digits are beyond any limit, and int raises ValueError for several thousand of them.
_LENGTH_DIGITS = 18
_PORT = re.compile(r":[0-9]*$")


def keys_of(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The keys that open the API; none: it is open to whoever reaches it."""
    return tuple(key.strip() for key in environment.get(API_KEYS, "").split(",") if key.strip())


def require_keys(host: str, keys: Sequence[str], allow_without_keys: bool) -> None:
    """Raise ConfigError if a server would listen beyond the loopback without keys, unless asked for by name."""
    if not (_is_near(host) or keys or allow_without_keys):
        raise ConfigError(
            f"http_options.host is {host}, beyond this machine, and {API_KEYS} is not set in the environment of the"
            " replicas: set it to one or more keys, listen on 127.0.0.1, or say allow_without_keys: true"
        )


class HostDoor:
    """Answers 403 to a request for another host than this machine, which is how a page of a foreign site asks: its own
    name is made to mean 127.0.0.1, and then the browser takes what the server here says for that site's.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in or answer 403."""
        asked = Headers(scope=scope).get("host", "") if scope["type"] == "http" else "localhost"
        if _is_near(_PORT.sub("", asked).strip("[]").lower()):
            await self._app(scope, receive, send)
            return
        answer = problem(
            403,
            f"the host {asked!r} is asked for, and without keys only this machine is: ask for localhost or 127.0.0.1,"
            f" set {API_KEYS} to one or more keys, or say allow_without_keys: true",
        )
        await answer(scope, receive, send)


class KeyDoor:
    """Asks for a key on every path but ``OPEN_PATHS``: ``Authorization: Bearer KEY``, or Basic with the key as
    password, which is how a browser asks for one.
    """

    def __init__(self, app: ASGIApp, keys: Sequence[str]) -> None:
        self._app = app
        self._keys = [_digest(key.encode()) for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in or answer 401."""
        if scope["type"] != "http" or not self._keys or _is_open(scope) or self._fits(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        answer = problem(401, "give a valid key as Authorization: Bearer <key>", code="invalid_api_key")
        answer.headers["WWW-Authenticate"] = 'Basic realm="X-ELM: an API key as password", charset="UTF-8"'
        await answer(scope, receive, send)

    def _fits(self, headers: Headers) -> bool:
        kind, _, rest = headers.get("authorization", "").partition(" ")
        # Starlette decodes headers as Latin-1: this gives back the bytes that were sent.
        given = rest.strip().encode("latin-1")
        if kind.lower() == "basic":
            try:
                given = base64.b64decode(given, validate=True).partition(b":")[2]
            except binascii.Error:
                given = b""
        elif kind.lower() != "bearer":
            given = b""
        digest = _digest(given)  # of one length, so that the time does not tell that of a key
        fits = [hmac.compare_digest(key, digest) for key in self._keys]  # all of them: the time tells nothing
        return any(fits)


class BodyLimit:
    """Reads a body whole. Answers 413 to one of more than ``most`` bytes, whether its length was said or not, and 408
    to one that takes more than ``seconds`` to come.
    """

    def __init__(self, app: ASGIApp, most: int, seconds: float) -> None:
        self._app, self._most, self._seconds = app, most, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what is small enough."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._seconds):
                read = await self._read(scope, receive)
        except TimeoutError:
            await problem(408, f"the body took longer than {self._seconds:g} s to come")(scope, receive, send)
            return
        if read is None:
            await problem(413, f"the body is larger than the {self._most} bytes allowed")(scope, receive, send)
            return

        messages = [read]

        async def replayed() -> Message:
            # Behind the body the real one: it is how the application hears that the client is gone.
            return messages.pop() if messages else await receive()

        await self._app(scope, replayed, send)

    async def _read(self, scope: Scope, receive: Receive) -> Message | None:
        """The body in one message, or that the client is gone; None if it is too large."""
        said = Headers(scope=scope).get("content-length", "")
        # isdigit alone also holds for "²", which int refuses. What is no number is not believed: the bytes are counted.
        if said.isascii() and said.isdigit() and (len(said) > _LENGTH_DIGITS or int(said) > self._most):
            return None
        body, more = bytearray(), True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return message
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > self._most:
                return None
        return {"type": "http.request", "body": bytes(body)}


def _is_near(host: str) -> bool:
    """Whether a host is this machine itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_open(scope: Scope) -> bool:
    # Behind a route_prefix the path begins with it.
    path: str = scope["path"].removeprefix(scope.get("root_path", "").rstrip("/"))
    return path in OPEN_PATHS


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
