"""A server that plays one: fixed answers over HTTP, and streams of completions."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Chunks = Sequence[dict[str, Any]]
Asked = Callable[[bytes], tuple[int, Chunks]]
"""From a request's body the status and the chunks of the stream."""


@contextmanager
def answering(got: str = "", asked: Asked = lambda _: (404, [])) -> Iterator[int]:
    """Answer each GET with this text and each POST as it is told, on a port of the loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._head(200, {"Content-Length": str(len(got.encode()))})
            self.wfile.write(got.encode())

        def do_POST(self) -> None:
            status, chunks = asked(self.rfile.read(int(self.headers["Content-Length"])))
            if status != 200:
                self._head(status, {"Content-Length": "0", "Retry-After": "0.01"})
                return
            self._head(200, {"Transfer-Encoding": "chunked"})
            for said in [*(json.dumps(chunk) for chunk in chunks), "[DONE]"]:
                line = f"data: {said}\n\n".encode()
                self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
            self.wfile.write(b"0\r\n\r\n")

        def _head(self, status: int, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Nothing."""

        def handle(self) -> None:
            with suppress(BrokenPipeError, ConnectionResetError):  # of a client that left
                super().handle()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
