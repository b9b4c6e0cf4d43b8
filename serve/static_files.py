"""The playground's files: ours, read from this package, with a policy that lets the page reach this server alone."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI, Response
from fastapi.responses import FileResponse

GET_AND_HEAD = ["GET", "HEAD"]
_FOLDER = Path(__file__).parent / "playground"
# A list and no mounted folder: no path of a request is ever looked up on the disk.
_FILES = ("index.html", "playground.css", "playground.js", "samples.js")
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {"Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache"}


def add_playground(api: FastAPI) -> None:
    """The page at ``/`` and what it loads, beside it."""
    for name in _FILES:
        _add(api, "/" if name == "index.html" else f"/{name}", _FOLDER / name)


# A function of its own, because a closure in the loop would see the last file for every path.
def _add(api: FastAPI, path: str, file: Path) -> None:
    @api.api_route(path, methods=GET_AND_HEAD, include_in_schema=False)
    async def page() -> Response:
        return FileResponse(file, headers=_HEADERS)
