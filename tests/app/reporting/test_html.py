from __future__ import annotations

import csv
import io
import re
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote

import pytest

from app.core.records import JsonObject
from app.reporting.html import ReportRecords, render_report
from tests.app.reporting.test_adaptation import REPORT
from tests.app.reporting.test_samples import SAMPLES
from tests.support.summary import headline

VOID = {"meta", "link", "line", "circle", "path", "rect", "use"}


class Page(HTMLParser):
    """Text of the page; fails on tags that do not close in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.links: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [str(value) for name, value in attrs if name in ("href", "src")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID | {"g"}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def summary() -> JsonObject:
    mine: JsonObject = {"perplexity": 8.0, "bits_per_byte": 1.5, "exposure_tokens": 990, "change_from_dense": -0.2}
    mine |= {"low_from_dense": -0.3, "high_from_dense": -0.1, "clear_from_dense": True}
    dense: JsonObject = {"perplexity": 10.0, "bits_per_byte": 2.0, "exposure_tokens": 1000}
    cells: JsonObject = {"dense": dense, "expert-00": mine, "ensemble": mine}
    return {
        "run": "demo",
        "k": 1,
        "allocation": "typological",
        "tokens_total": 1000,
        **headline(-0.2),
        "experts": ["expert-00"],
        "expert_of_language": {"ar": "expert-00"},
        "systems": {},
        "per_language": {"ar": cells},
    }


def everything() -> dict[str, Any]:
    return {
        "summary": summary(),
        "allocation": {"experts": ["expert-00"], "clusters": [["ar"]]},
        "data_card": {"duplicates": {"ar": 3}, "rejects": {}},
        "tokens": {"ar/train": {"documents": 5, "bytes": 100, "tokens": 50}},
        "models": {"dense": {"steps": 7, "tokens_seen": 1000, "final_loss": 2.5, "training_seconds": 1.0}},
        "lineage": {"tokens": {"stage": "tokens", "key": "abc123"}},
        "config": {"run": {"name": "demo"}, "hub": {"token": "very-private"}, "training": {"budget_tokens": 1000}},
        "about": {"corpus": "generated lists", "page made": "today"},
        "environment": {"torch": "2.13.0"},
        "stages": {"shards": {"seconds": 3.0, "documents": 6}},
        "curves": {"dense": [[100, 3.0], [200, 2.5]]},
        "merges": [{"left": ["ar"], "right": ["de"], "distance": 0.25}],
        "terms": {"expert-00": ["und·"]},
        "adaptation": REPORT,
        "groupings": {
            "agreement": [{"one": "demo", "other": "far", "over": "languages", "rand": -0.5, "information": 0.2}],
            "balance": {"demo": 1.0, "far": 1.5},
        },
        "samples": SAMPLES,
        "published": {
            "allocation": "typological",
            "k": 1,
            "matrix": {"ar": [9.0]},
            "baseline": {"ar": 10.0},
            "source": "the paper",
        },
    }


def test_the_page_is_well_formed_and_loads_nothing() -> None:
    html = render_report(ReportRecords(**everything()))
    page = Page(html)
    assert page.links and all(link.startswith("data:") for link in page.links)
    assert "<script" not in html and "@import" not in html and "url(" not in html.replace("url(#", "")


def test_every_record_is_on_the_page() -> None:
    text = Page(render_report(ReportRecords(**everything()))).text
    for expected in (
        "2 of 2",
        "-20.00%",
        "✓ -20.0%",
        "Arabic",
        "العربية",
        "expert-00",
        "abc123",
        "torch 2.13.0",
        "generated lists",
        "3.0s",
    ):
        assert expected in text
    assert '"budget_tokens": 1000' in text


@pytest.mark.parametrize("name", everything())
def test_an_absent_record_leaves_only_its_section_out(name: str) -> None:
    given = everything()
    whole, part = (Page(render_report(ReportRecords(**records))).text for records in (given, given | {name: {}}))
    assert len(part) < len(whole) or name == "data_card"


def test_every_table_can_be_saved_as_csv_with_a_name_of_its_own() -> None:
    html = render_report(ReportRecords(**everything()))
    found = re.findall(r'<a href="data:text/csv;charset=utf-8,([^"]*)" download="([^"]*)"', html)
    tables = html.count("<table>") - 1  # all but the lineage
    assert len(found) == tables == len({name for _, name in found})
    rows = {name: list(csv.reader(io.StringIO(unquote(text)))) for text, name in found}
    assert rows["time.csv"] == [["stage", "wall clock", "documents/s"], ["shards", "3.0s", "2"]]
    assert rows["top-terms-of-each-cluster.csv"][1] == ["expert-00", "und·"]
    assert rows["perplexity-of-each-expert-in-each-language-2.csv"] == [
        ["language", "expert 0", "dense"],
        ["ar", "9.00", "10.00"],
    ]


def test_no_records_make_an_empty_page() -> None:
    assert Page(render_report(ReportRecords())).text.split()[-1] == "X-ELM"


def test_text_from_records_is_escaped_and_secrets_are_hidden() -> None:
    given = everything()
    given["summary"]["run"] = given["environment"]["x"] = "<script>alert(1)</script>"
    given["lineage"]["<img src=x>"] = {"stage": "<b>", "key": "k"}
    html = render_report(ReportRecords(**given))
    assert "<script" not in html and "<img" not in html and "<b>&lt;" not in html
    assert "very-private" not in html


def test_right_to_left_names_are_isolated() -> None:
    html = render_report(ReportRecords(**everything()))
    assert re.search(r'<bdi lang="ar" dir="rtl">العربية</bdi>', html)
