"""The playground as its user meets it."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import replace
from pathlib import Path

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
