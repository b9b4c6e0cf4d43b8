"""The page as a reader sees it: in a window, on a phone, on paper."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.core.records import JsonObject
from app.reporting.html import ReportRecords, render_report
from tests.support.browser import opened
from tests.support.summary import SUMMARY, headline

pytestmark = [pytest.mark.cluster]

FIGURES: JsonObject = {
    "run": "demo",
    "k": 2,
    "allocation": "tfidf",
    "tokens_total": 1000,
    **headline(-0.05),
}
ALLOCATION: JsonObject = {"experts": ["expert-00", "expert-01"], "clusters": [["ar", "ja"], ["de"]]}


@pytest.fixture(scope="module")
def page_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    html = render_report(
        ReportRecords(
            summary={**SUMMARY, **FIGURES},
            allocation=ALLOCATION,
            tokens={f"{lang}/train": {"documents": 5, "bytes": 900, "tokens": 300} for lang in ("ar", "de", "ja")},
            merges=[
                {"left": ["ar"], "right": ["ja"], "distance": 0.2},
                {"left": ["ar", "ja"], "right": ["de"], "distance": 0.4},
            ],
            terms={"expert-00": ["العربية", "日本語", "हिन्दी"], "expert-01": ["und·"]},
            curves={"dense": [(100, 3.0), (200, 2.5)], "expert-00": [(50, 3.0), (100, 2.4)]},
            models={"dense": {"steps": 10}},
            stages={"shards": {"seconds": 3.0}},
            config={"run": {"name": "demo"}},
        )
    )
    file: Path = tmp_path_factory.mktemp("page") / "index.html"
    file.write_text(html, encoding="utf-8")
    return file.as_uri()


@pytest.mark.parametrize("width", [1400, 390])
def test_the_page_opens_without_an_error_and_every_picture_is_there(page_url: str, width: int) -> None:
    with opened(page_url, width) as (page, problems):
        pictures = page.locator("figure svg")
        assert pictures.count() == 3
        for number in range(3):
            box = pictures.nth(number).bounding_box()
            assert box is not None and box["width"] > 300 and box["height"] > 60
            assert pictures.nth(number).locator("text").count() >= 3
        assert problems == []


def test_a_phone_scrolls_tables_but_never_the_page(page_url: str) -> None:
    with opened(page_url, 390) as (page, _):
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        assert page.evaluate("parseFloat(getComputedStyle(document.body).fontSize)") >= 14
        assert page.locator("h1").bounding_box() is not None


def test_names_run_in_their_own_direction_and_have_glyphs(page_url: str) -> None:
    with opened(page_url) as (page, _):
        arabic = page.locator('bdi[lang="ar"]').first
        assert arabic.inner_text() == "العربية" and arabic.get_attribute("dir") == "rtl"
        # a script without a font is drawn as equal boxes: then two different words of one length are equally wide
        widths = page.evaluate(
            """() => ['ااا', 'سسس', '一丁', 'ﾊｱ'].map(text => {
                 const probe = document.createElement('bdi'); probe.textContent = text;
                 document.querySelector('main').append(probe); const width = probe.getBoundingClientRect().width;
                 probe.remove(); return width })"""
        )
        assert widths[0] != widths[1] and widths[2] != widths[3] and min(widths) > 0


def test_on_paper_every_section_is_printed_and_nothing_is_cut_off(page_url: str) -> None:
    with opened(page_url) as (page, _):
        page.emulate_media(media="print")
        paper = 297 - 24  # A4 across, less the margins, in millimetres
        page.set_viewport_size({"width": round(paper / 25.4 * 96), "height": 700})
        wide = page.evaluate(
            "[...document.querySelectorAll('table, figure')].map(e => e.getBoundingClientRect().right)"
            ".filter(right => right > innerWidth + 1)"
        )
        assert wide == [] and page.pdf(prefer_css_page_size=True).startswith(b"%PDF")
        assert page.locator("section:visible h2").count() >= 8
