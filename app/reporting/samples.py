"""What the models write."""

from __future__ import annotations

import csv
import io
from typing import Any

from app.core.records import JsonObject
from app.reporting.cells import Cell, Section, Table, language_cell, mapping, sequence

_AUTHOR = "the document itself"
_END = " ∎"
_HOW = (
    "Each model is given the marked beginning of a held-out document, not its language, and goes on with the most"
    " probable token each time. ⏎: a new line."
)


def samples_section(samples: JsonObject) -> Section | None:
    """A few held-out documents and how models continue them, a row each.

    samples: ``samples``, each with ``lang``, ``prompt``, ``held_out`` and ``texts``: model -> ``text`` and whether the
    model ``ended`` it.
    """
    rows, sink = [], io.StringIO()
    saved = csv.writer(sink, lineterminator="\n")
    saved.writerow(["language", "written by", "prompt", "text"])
    for sample in map(mapping, sequence(samples.get("samples"))):
        lang, prompt = str(sample["lang"]), str(sample["prompt"])
        texts = {_AUTHOR: str(sample["held_out"])}
        texts |= {name: _text(one) for name, one in mapping(sample["texts"]).items()}
        for place, (name, text) in enumerate(texts.items()):
            first = Cell() if place else language_cell(lang)
            # A cell is one line: a line break of the text is shown as a sign, the CSV keeps it.
            shown, begun = (" ⏎ ".join(part.split("\n")) for part in (text, prompt))
            rows.append([first, Cell(name, "text"), Cell(shown, "text", lang=lang, prompt=begun)])
            saved.writerow([lang, name, prompt, text])
    if not rows:
        return None
    ended = f"{_END}: the model ended the text." if any(row[-1].text.endswith(_END) for row in rows) else ""
    table = Table(["language", "written by", "text"], rows, csv=sink.getvalue())
    return Section("Samples of generated text", [table], [_HOW + ended])


def _text(written: Any) -> str:
    return f"{written['text']}{_END if written['ended'] else ''}"
