"""The pictures and figures of the README from a finished run, so that they stay true: ``make pictures``.

``python -m benchmarks.pictures --root artifacts --run demo`` photographs the run's page and its typological tree with
Debian's Chromium (a PNG each below ``docs/pictures``), and writes the run's table between the marks in README.md.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from app.artifacts.layout import REPORT, SUMMARY
from app.artifacts.store import Store
from app.core.errors import ConfigError
from app.core.records import JsonObject
from app.reporting.tables import headline_text, markdown_summary

BEGIN, END = "<!-- results: written by make pictures -->", "<!-- end of results -->"
MOST_BYTES = 300_000
_ROOT = Path(__file__).parents[1]
_TREE = 'figure[aria-label^="Dendrogram"]'


def main(argv: Sequence[str] | None = None) -> int:
    """Take the pictures and write the table; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pictures", description=__doc__)
    parser.add_argument("--root", default="artifacts")
    parser.add_argument("--run", default="demo")
    options = parser.parse_args(argv)
    run = Store(options.root).run(options.run)
    photograph(run.local(REPORT), _ROOT / "docs" / "pictures")
    readme = _ROOT / "README.md"
    shown = results(run.read_json(SUMMARY), datetime.now(UTC).date().isoformat())
    readme.write_text(with_results(readme.read_text(encoding="utf-8"), shown), encoding="utf-8")
    return 0


def photograph(page: Path, folder: Path) -> None:
    """``page.png``, the top of the page as a window shows it, and ``tree.png``. Raises ConfigError without Chromium."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium")
    if program is None:
        raise ConfigError("chromium is missing, and pictures of the page need it; apt-get install chromium")
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            window = browser.new_page(viewport={"width": 1240, "height": 1180})
            window.goto(page.resolve().as_uri())
            window.screenshot(path=folder / "page.png")
            window.locator(_TREE).screenshot(path=folder / "tree.png")
        finally:
            browser.close()


def results(summary: JsonObject, date: str) -> str:
    """What the README shows of a run: command, headline and table."""
    return f"`make demo`, {date}: {headline_text(summary)}.\n\n{markdown_summary(summary)}"


def with_results(readme: str, shown: str) -> str:
    """The README with ``shown`` between its marks. Raises ConfigError where it has none."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ConfigError(f"README.md lacks the marks {BEGIN} and {END}; put them around its table")
    return f"{before}{BEGIN}\n\n{shown}\n\n{END}{after}"


if __name__ == "__main__":
    sys.exit(main())
