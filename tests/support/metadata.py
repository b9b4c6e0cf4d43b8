"""The instance metadata services of three clouds, on the loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Metadata:
    """What the service says; empty strings are not there (404). Requests without the right headers get 401 or 403."""

    def __init__(self) -> None:
        self.ec2_action = ""
        self.gce_preempted = "FALSE"
        self.azure_events: list[dict[str, object]] = []
        self.address = ""

    def answer(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        """Status and body, as the clouds document them."""
        match method, path.partition("?")[0]:
            case "PUT", "/latest/api/token":
                return (200, "TOKEN") if "x-aws-ec2-metadata-token-ttl-seconds" in headers else (400, "")
            case "GET", "/latest/meta-data/spot/instance-action":
                if headers.get("x-aws-ec2-metadata-token") != "TOKEN":
                    return 401, ""
                return (200, self.ec2_action) if self.ec2_action else (404, "")
            case "GET", "/computeMetadata/v1/instance/preempted":
                return (200, self.gce_preempted) if headers.get("metadata-flavor") == "Google" else (403, "")
            case "GET", "/metadata/instance/compute/name":
                return (200, "vm-7") if headers.get("metadata") == "true" else (400, "")
            case "GET", "/metadata/scheduledevents":
                body = json.dumps({"DocumentIncarnation": 1, "Events": self.azure_events})
                return (200, body) if headers.get("metadata") == "true" else (400, "")
        return 404, ""


@contextmanager
def metadata_service() -> Iterator[Metadata]:
    """A service on a free port; its address is in ``address``."""
    said = Metadata()

    class Handler(BaseHTTPRequestHandler):
        def _reply(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, body = said.answer(self.command, self.path, headers)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        do_GET = do_PUT = _reply  # noqa: N815  the names http.server asks for

        def log_message(self, *args: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    said.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield said
    finally:
        server.shutdown()
        server.server_close()
