"""Documents that are read and then dropped, each a Reject like any row that cannot be used."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from app.core.records import Document
from app.corpora.base import SAMPLE_CHARACTERS, Reason, Reject
from app.corpora.identify import confidence


def screen(
    rows: Iterable[Document | Reject], file: str, near_duplicates: Collection[int], least_confidence: float | None
) -> Iterator[Document | Reject]:
    """The rows of a file in order, with a Reject for each document that is dropped.

    near_duplicates: numbers of documents from 0, rejects not counted. ``least_confidence`` None: languages are
    believed; else a document is dropped where the confidence in its language is less (a language that cannot be
    identified is kept). ``Reject.line`` counts rows, blank lines left out.
    """
    documents = -1
    for line, row in enumerate(rows, start=1):
        if isinstance(row, Reject):
            yield row
            continue
        # Counted before anything is dropped, as the signatures were.
        documents += 1
        dropped: tuple[Reason, str] | None = None
        if documents in near_duplicates:
            dropped = "near_duplicate", row.text
        elif least_confidence is not None and (found := confidence(row.lang, row.text)) is not None:
            sure, looks_like = found
            if sure < least_confidence:
                dropped = "misidentified", f"{row.lang} {sure:.2f}, looks like {looks_like}: {row.text}"
        yield row if dropped is None else Reject(file, line, dropped[0], dropped[1][:SAMPLE_CHARACTERS])
