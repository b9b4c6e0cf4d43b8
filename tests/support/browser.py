"""A page in Debian's Chromium, without a window."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Page, sync_playwright

from tests.support.needs import need_program


@contextmanager
def opened(url: str, width: int = 1400, height: int = 900) -> Iterator[tuple[Page, list[str]]]:
    """The page, and what goes wrong on it: console errors, uncaught errors, requests that fail or leave the machine."""
    program = need_program("chromium", "chromium")
    problems: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            page = browser.new_page(viewport={"width": width, "height": height})
            page.on(
                "console", lambda m: problems.append(f"{m.type}: {m.text}") if m.type in ("error", "warning") else None
            )
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.on("requestfailed", lambda request: problems.append(f"failed: {request.url}"))
            page.on("request", lambda r: None if _is_near(r.url) else problems.append(f"left the machine: {r.url}"))
            page.goto(url)
            yield page, problems
        finally:
            browser.close()


def _is_near(url: str) -> bool:
    return url.startswith(("file://", "data:", "about:", "http://127.0.0.1", "http://localhost", "blob:"))
