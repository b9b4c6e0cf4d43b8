"""The playground as its user meets it."""

from __future__ import annotations

import colorsys
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from serve.ingress import make_api
from serve.replica import Replica
from tests.support.browser import opened
from tests.support.ensembles import demo_ensemble
from tests.support.serving import listening, served
from tests.support.source import ROOT

FOLDER = ROOT / "serve/playground"
SAMPLE = re.compile(r'^  \["([\w-]+)", "(.+)", "(.+)"\],$', re.M)


def test_its_files_come_from_this_server_and_may_reach_no_other() -> None:
    with served() as client:
        page = client.get("/")
        assert page.headers["content-type"].startswith("text/html")
        loaded = re.findall(r'(?:src|href)="(?!data:)([^"]+)"', page.text)
        for name in loaded:
            found = client.get(f"/{name}")
            assert found.status_code == 200 and found.text == (FOLDER / name).read_text(encoding="utf-8")
            assert "default-src 'none'" in found.headers["content-security-policy"]
    assert loaded == ["playground.css", "samples.js", "playground.js"]
    whole = "".join(file.read_text(encoding="utf-8") for file in FOLDER.iterdir())
    assert not re.search(r"https?://|//cdn", whole)


def test_there_are_samples_in_twenty_languages_and_ten_scripts() -> None:
    samples = SAMPLE.findall((FOLDER / "samples.js").read_text(encoding="utf-8"))
    assert len({code for code, _, _ in samples}) >= 20
    scripts = {unicodedata.name(next(c for c in text if c.isalpha())).split()[0] for _, _, text in samples}
    assert len(scripts) >= 10 and {"ARABIC", "HEBREW", "CJK"} <= scripts


def luminance(colour: Sequence[float]) -> float:
    """Relative luminance of red, green, blue in 0..1 (WCAG 2.2)."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: Sequence[float], other: Sequence[float]) -> float:
    """Of two colours, 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def of_hex(colour: str) -> list[float]:
    """Of three or six digits."""
    digits = [digit * 2 for digit in colour] if len(colour) == 3 else re.findall("..", colour)
    return [int(digit, 16) / 255 for digit in digits]


PAGES = ("fff", "121212")
"""Chromium's, light and dark; Firefox' dark one is 1c1b22."""
TEXTS = ("000", "fff")


@pytest.mark.parametrize("scheme", [0, 1])
def test_words_of_every_colour_can_be_read_in_both_schemes(scheme: int) -> None:
    sheet = (FOLDER / "playground.css").read_text(encoding="utf-8")
    pairs = re.findall(r"(?:--muted|\bcolor): light-dark\(#(\w+), #(\w+)\)", sheet)
    assert len(pairs) == 2 == len(re.findall(r"(?:--muted|[ ;{]color): (?!var)", sheet))
    for page in ((PAGES[0],), (PAGES[1], "1c1b22"))[scheme]:
        assert min(contrast(of_hex(pair[scheme]), of_hex(page)) for pair in pairs) >= 4.5


@pytest.mark.parametrize("scheme", [0, 1])
def test_a_token_can_be_read_on_the_strongest_tint_of_every_hue(scheme: int) -> None:
    sheet, script = ((FOLDER / f"playground.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    tints = re.findall(r"hsl\(var\(--hue\) (\d+)% (\d+)% / var\(--weight\)\)", sheet)
    (most,) = re.findall(r"MOST_TINT = ([\d.]+)", script)
    saturation, lightness = (int(part) / 100 for part in tints[scheme])
    for hue in range(360):
        tint = colorsys.hls_to_rgb(hue / 360, lightness, saturation)
        shown = [
            float(most) * part + (1 - float(most)) * page
            for part, page in zip(tint, of_hex(PAGES[scheme]), strict=True)
        ]
        assert contrast(of_hex(TEXTS[scheme]), shown) >= 4.5, hue


@pytest.mark.cluster
def test_a_text_is_written_tinted_and_explained_and_runs_on_a_phone_and_by_keys(tmp_path: Path) -> None:
    ensemble = replace(demo_ensemble(), run="demo", version=1, languages={"expert-00": ("de",), "expert-01": ("en",)})
    replica = Replica(ensemble, slots=4)
    try:
        with listening(make_api(replica)) as url:
            with opened(url) as (page, problems):
                _writes(page)
                page.screenshot(path=str(tmp_path / "wide.png"), full_page=True)
                assert problems == []
                _asks_for_what_is_missing(page)
                page.fill("#language", "tlh")
                page.click("#run")
                expect(page.locator(".problem").first).to_contain_text("nearest known")
            with opened(url, width=390) as (page, problems):
                _fits_a_phone(page)
                page.screenshot(path=str(tmp_path / "narrow.png"), full_page=True)
                assert problems == []
    finally:
        replica.close()


@pytest.mark.cluster
def test_what_fails_is_said_and_what_is_not_there_yet_is_asked_for_again() -> None:
    replica = Replica(replace(demo_ensemble(), run="demo", version=1), slots=4)
    try:
        with listening(make_api(replica)) as url, opened(url) as (page, _problems):
            expect(page.locator("#about")).to_contain_text("Run demo")
            _fails(page, "the server is sad", status=500, json={"error": {"message": "the server is sad"}})
            _fails(page, "ended before the text did", body='data: {"choices": []}\n\n')
            _fails(page, "over", body='data: {"error": {"message": "time is over"}}\n\n')
            page.click("#run")
            expect(page.locator("#said")).to_have_text("Done.")
            _leaves_the_browser_its_keys(page)
            _waits_for_models(page)
    finally:
        replica.close()


def _fails(page: Page, message: str, **answer: Any) -> None:
    page.route("**/v1/completions", lambda route: route.fulfill(**answer))
    page.click("#run")
    expect(page.locator("#said")).to_have_text("Failed.")
    expect(page.locator(".problem")).to_contain_text(message)
    page.unroute("**/v1/completions")


def _leaves_the_browser_its_keys(page: Page) -> None:
    page.locator(".token").nth(0).focus()
    at = "[...document.querySelectorAll('.token')].indexOf(document.activeElement)"
    for key in ("Control+ArrowRight", "Meta+ArrowRight", "Control+End"):
        page.keyboard.press(key)
        assert page.evaluate(at) == 0
    page.keyboard.press("ArrowRight")
    assert page.evaluate(at) == 1


def _waits_for_models(page: Page) -> None:
    """Without loading the page anew, which would take the focus."""
    page.route("**/v1/models", lambda route: route.fulfill(status=503, json={"error": {"message": "loading still"}}))
    page.reload()
    expect(page.locator("#about")).to_have_text("loading still")
    page.fill("#prompt", "mine")
    page.click("#run")
    expect(page.locator("#said")).to_have_text("The models are not there yet.")
    page.focus("#prompt")
    page.unroute("**/v1/models")
    page.route("**/v1/models", lambda route: route.abort())
    expect(page.locator("#about")).to_contain_text("The server cannot be reached")
    page.unroute("**/v1/models")
    expect(page.locator("#about")).to_contain_text("Run demo")
    assert page.evaluate("[document.activeElement.id, document.activeElement.value]") == ["prompt", "mine"]
    samples = SAMPLE.findall((FOLDER / "samples.js").read_text(encoding="utf-8"))
    expect(page.locator("#sample option")).to_have_count(1 + len(samples))
    expect(page.locator("#model option")).to_have_count(4)


def _writes(page: Page) -> None:
    expect(page.locator("#about")).to_contain_text("Run demo, version 1: 2 experts")
    page.select_option("#sample", "ar")
    page.select_option("#beside", "dense")
    page.focus("#prompt")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#said")).to_have_text("Done.")
    answers = page.locator(".answer")
    expect(answers).to_have_count(2)
    assert answers.nth(0).locator(".text").get_attribute("dir") == "rtl"
    tokens = answers.nth(0).locator(".token")
    count = tokens.count()
    assert 1 <= count <= 40
    assert {token.get_attribute("data-expert") for token in tokens.all()} <= {"expert-00", "expert-01"}
    tokens.nth(0).hover()
    details = answers.nth(0).locator(".details")
    expect(details).to_contain_text("expert-0")
    tokens.nth(0).focus()
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement.parentElement.lastChild === document.activeElement")
    expect(details).to_contain_text(str(tokens.nth(count - 1).get_attribute("data-name")).strip())
    shares = [row.inner_text() for row in answers.nth(0).locator(".bar .share").all()]
    assert len(shares) == 2 and sum(float(share.removesuffix(" %")) for share in shares) == pytest.approx(100, abs=1.5)


def _asks_for_what_is_missing(page: Page) -> None:
    """An emptied number is none, and not 0: nothing is sent, by the button, the keys or as a command."""
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))
    for field, value in (("#tokens", "4"), ("#temperature", "0.75")):
        page.fill(field, "")
        page.click("#run")
        page.press("#prompt", "Control+Enter")
        page.click("#curl")
        assert page.evaluate("document.activeElement.id") == field[1:]
        page.fill(field, value)
    assert sent == []


def _fits_a_phone(page: Page) -> None:
    expect(page.locator("#about")).to_contain_text("2 experts")
    page.select_option("#sample", "he")
    assert page.evaluate("getComputedStyle(document.getElementById('prompt')).direction") == "rtl"
    page.select_option("#sample", "ja")
    assert page.evaluate("getComputedStyle(document.getElementById('prompt')).direction") == "ltr"
    page.fill("#language", "de")
    page.click("#run")
    expect(page.locator("#said")).to_have_text("Done.")
    expect(page.locator(".language")).to_contain_text("Language: de (as told). The weights")
    assert page.locator(".text").get_attribute("lang") == "de"
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.evaluate("() => { navigator.clipboard.writeText = async () => { throw new Error('no') } }")
    page.click("#curl")
    expect(page.locator("#said")).to_contain_text("curl -N http://127.0.0.1")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
