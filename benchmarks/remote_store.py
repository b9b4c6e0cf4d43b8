"""A remote store that counts: a local folder behind a process of its own that answers late and at a bounded rate.

``python -m benchmarks.remote_store <latency seconds> <bytes per second>`` serves and prints its port; ``counted://``
is the fsspec file system that reads through it. Writing and listing wait for the latency and go to the folder.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, unquote

import fsspec
from fsspec.implementations.local import LocalFileSystem

_PROTOCOL, _COUNTS = "counted", "/counts"
_CHUNK_BYTES = 1 << 16


class CountedFileSystem(LocalFileSystem):
    """``counted://<host>:<port>/<absolute path>``: files are read from the server, byte for byte counted there."""

    protocol = _PROTOCOL

    def __init__(self, server: str, latency: float = 0.0, **options: Any) -> None:
        super().__init__(**options)
        self._server, self._latency = server, latency
        # One connection of each thread stays open, as those of object stores' clients do.
        self._open_here = threading.local()

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, str) and path.startswith(f"{_PROTOCOL}://"):
            path = "/" + path.removeprefix(f"{_PROTOCOL}://").partition("/")[2].partition("/")[2]
        return LocalFileSystem._strip_protocol(path)

    @staticmethod
    def _get_kwargs_from_urls(path: str) -> dict[str, Any]:
        server, _, rest = path.removeprefix(f"{_PROTOCOL}://").partition("/")
        return {"server": server, "latency": float(rest.partition("/")[0])}

    def get_file(self, rpath: str, lpath: str, callback: Any = None, **options: Any) -> None:
        """Copy a file or make a folder."""
        if self.isdir(rpath):
            Path(lpath).mkdir(parents=True, exist_ok=True)
            return
        with self._asked(rpath) as response, Path(lpath).open("wb") as target:
            while chunk := response.read(_CHUNK_BYTES):
                target.write(chunk)

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if mode != "rb":
            time.sleep(self._latency)
            return super()._open(path, mode, **options)
        with self._asked(path) as response:
            return io.BytesIO(response.read())

    def exists(self, path: str, **options: Any) -> bool:
        """Whether a file or folder is there."""
        time.sleep(self._latency)
        return bool(super().exists(path, **options))

    def ls(self, path: str, detail: bool = False, **options: Any) -> Any:
        """What stands in a folder."""
        time.sleep(self._latency)
        return super().ls(path, detail, **options)

    @contextmanager
    def _asked(self, path: str) -> Iterator[HTTPResponse]:
        connection: HTTPConnection | None = getattr(self._open_here, "connection", None)
        if connection is None:
            connection = self._open_here.connection = HTTPConnection(self._server, timeout=60)
        try:
            connection.request("GET", quote(str(path)))
            response = connection.getresponse()
            if response.status != 200:
                raise FileNotFoundError(path)
            yield response
            # What was not read would stand before the next answer.
            response.read()
        except BaseException:
            # The next request opens it again.
            connection.close()
            raise


def register() -> None:
    """Make ``counted://`` known to fsspec in this process."""
    fsspec.register_implementation(_PROTOCOL, CountedFileSystem, clobber=True)


def fetched(server: str) -> dict[str, int]:
    """Bytes that the server has sent so far, by path."""
    connection = HTTPConnection(server, timeout=60)
    connection.request("GET", _COUNTS)
    counts: dict[str, int] = json.loads(connection.getresponse().read())
    connection.close()
    return counts


@contextmanager
def served(folder: Path, latency: float, rate: float) -> Iterator[tuple[str, str]]:
    """Run a server; yields its address and the URI of the folder behind it."""
    command = [sys.executable, "-m", "benchmarks.remote_store", str(latency), str(rate)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        server = f"127.0.0.1:{int(process.stdout.readline())}"
        yield server, f"{_PROTOCOL}://{server}/{latency}{folder.absolute()}"
    finally:
        process.terminate()
        process.wait()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, latency: float, rate: float) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.latency, self.rate = latency, rate
        self.sent: Counter[str] = Counter()
        self.lock = threading.Lock()


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    # Else the body of a small file waits for the acknowledgement of its head.
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Send a file, or what was sent."""
        if self.path == _COUNTS:
            data = json.dumps(self.server.sent).encode()
            self._head(200, len(data))
            self.wfile.write(data)
            return
        time.sleep(self.server.latency)
        path = Path(unquote(self.path))
        if not path.is_file():
            self._head(404, 0)
            return
        self._head(200, path.stat().st_size)
        with path.open("rb") as file:
            self._send(str(path), file)

    def _send(self, name: str, file: BinaryIO) -> None:
        while chunk := file.read(_CHUNK_BYTES):
            time.sleep(len(chunk) / self.server.rate)
            self.wfile.write(chunk)
            with self.server.lock:
                self.server.sent[name] += len(chunk)

    def _head(self, status: int, size: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(size))
        self.end_headers()

    def log_message(self, format: str, *values: object) -> None:  # noqa: A002
        """Nothing: the counts say it."""


if __name__ == "__main__":
    _server = _Server(float(sys.argv[1]), float(sys.argv[2]))
    print(_server.server_address[1], flush=True)
    _server.serve_forever()
