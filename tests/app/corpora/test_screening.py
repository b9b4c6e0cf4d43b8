from __future__ import annotations

from app.core.records import Document
from app.corpora.base import Reject, document_id
from app.corpora.screening import screen

GERMAN = "Die Würde des Menschen ist unantastbar. Sie zu achten und zu schützen ist Verpflichtung aller Gewalt. " * 3


def _document(lang: str, text: str) -> Document:
    return Document(document_id(lang, text), lang, text, "", "")


ROWS = [
    _document("de", GERMAN),
    Reject("f", 2, "bad_json", "{"),
    _document("de", GERMAN + "!"),
    _document("sw", GERMAN),
    _document("br", GERMAN),
]


def test_without_a_step_every_row_passes() -> None:
    assert list(screen(ROWS, "f", (), None)) == ROWS


def test_near_duplicates_are_dropped_by_the_number_of_the_document_and_keep_their_row() -> None:
    found = list(screen(ROWS, "f", {1}, None))
    assert found == [ROWS[0], ROWS[1], Reject("f", 3, "near_duplicate", (GERMAN + "!")[:200]), *ROWS[3:]]


def test_documents_in_another_language_are_dropped_with_what_they_look_like() -> None:
    found = list(screen(ROWS, "f", (), 0.5))
    assert [row for row in found if isinstance(row, Document)] == [ROWS[0], ROWS[2], ROWS[4]]
    reject = found[3]
    assert isinstance(reject, Reject) and (reject.line, reject.reason) == (4, "misidentified")
    assert reject.sample.startswith("sw 0.00, looks like de: Die W") and len(reject.sample) == 200


def test_a_near_duplicate_is_counted_once() -> None:
    reasons = [row.reason for row in screen(ROWS, "f", {0, 1, 2, 3}, 0.5) if isinstance(row, Reject)]
    assert reasons == ["near_duplicate", "bad_json", *["near_duplicate"] * 3]
