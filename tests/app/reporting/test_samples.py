from __future__ import annotations

import csv
import io
from typing import Any
from urllib.parse import unquote

from app.reporting.html import ReportRecords, render_report
from app.reporting.samples import samples_section
from tests.support.summary import texts

SAMPLES: Any = {
    "samples": [
        {
            "lang": "ar",
            "expert": "expert-00",
            "prompt": "في الصباح",
            "held_out": " كان الجو",
            "texts": {
                "expert-00": {"text": " كان\nهنا", "ended": False},
                "dense": {"text": "", "ended": True},
            },
        },
        {"lang": "ja", "expert": "expert-01", "prompt": "今日", "held_out": "は<b>", "texts": {}},
    ]
}


def test_the_document_stands_first_and_each_model_below_it() -> None:
    section = samples_section(SAMPLES)
    assert texts(section) == [
        ["ar", "the document itself", " كان الجو"],
        ["", "expert-00", " كان ⏎ هنا"],
        ["", "dense", " ∎"],
        ["ja", "the document itself", "は<b>"],
    ]
    assert section is not None and "∎: the model ended the text" in section.notes[0]
    saved = list(csv.reader(io.StringIO(unquote(section.tables[0].download.partition(",")[2]))))
    assert saved[2] == ["ar", "expert-00", "في الصباح", " كان\nهنا"]


def test_text_has_its_language_and_direction_and_the_prompt_is_marked() -> None:
    page = render_report(ReportRecords(samples=SAMPLES))
    assert '<span class="sample" lang="ar" dir="rtl"><mark>في الصباح</mark> كان ⏎ هنا</span>' in page
    assert '<span class="sample" lang="ja" dir="auto"><mark>今日</mark>は&lt;b&gt;</span>' in page


def test_no_samples_make_no_section() -> None:
    assert samples_section({}) is None and samples_section({"samples": []}) is None
