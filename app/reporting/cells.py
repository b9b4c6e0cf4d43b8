"""What a section of the page is made of: tables of cells, pictures, notes; and how values become cells."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from app.core.languages import display_name, is_right_to_left, native_name

_PLOT_WIDTH = 100.0


@dataclass(frozen=True)
class Plot:
    """An interval drawn as a line with a point, and where no change is; all in pixels from the left of ``width``."""

    low: float
    point: float
    high: float
    zero: float
    width: float = _PLOT_WIDTH


@dataclass(frozen=True)
class Cell:
    """One cell. ``kind``: CSS classes; ``style``: inline CSS; ``lang``: the language whose names are shown beside.

    ``terms`` stand one by one, each in its own direction. ``prompt``: the beginning of a text in ``lang``, marked, that
    ``text`` goes on from.
    """

    text: str = ""
    kind: str = ""
    style: str = ""
    lang: str = ""
    plot: Plot | None = None
    terms: Sequence[str] = ()
    prompt: str = ""

    @property
    def names(self) -> tuple[str, str]:
        """English and native name of the language."""
        return display_name(self.lang), native_name(self.lang)

    @property
    def right_to_left(self) -> bool:
        """Whether the native name runs from right to left."""
        return is_right_to_left(self.lang)


@dataclass(frozen=True)
class Table:
    """Rows below a header; ``caption`` where a section has several.

    csv: what is downloaded, for a table that has more to tell than it shows; empty: what it shows.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    csv: str = ""

    @property
    def download(self) -> str:
        """The table as CSV in a data: address, so that the page stays one file."""
        return f"data:text/csv;charset=utf-8,{quote(self.csv or self._shown())}"

    def _shown(self) -> str:
        """Header and cells as they are shown; columns that are only drawn are left out."""
        sink = io.StringIO()
        writer = csv.writer(sink, lineterminator="\n")
        places = [place for place, title in enumerate(self.header) if title]
        writer.writerow([self.header[place] for place in places])
        for row in self.rows:
            writer.writerow([row[place].text or " ".join(row[place].terms) for place in places])
        return sink.getvalue()


@dataclass(frozen=True)
class Picture:
    """An SVG element, and in words what it shows."""

    svg: str
    meaning: str


@dataclass(frozen=True)
class Section:
    """A title, tables beside one another where there is room, pictures below them, notes at the end."""

    title: str
    tables: Sequence[Table] = ()
    notes: Sequence[str] = ()
    pictures: Sequence[Picture] = ()

    @property
    def file_name(self) -> str:
        """What its tables are called when they are saved, e.g. ``perplexity-by-language-and-system``."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


def language_cell(code: str) -> Cell:
    """A language's code with its English and native names."""
    return Cell(code, "language", lang=code)


def mapping(value: Any) -> dict[str, Any]:
    """A record as a dictionary, empty for anything else."""
    return dict(value) if isinstance(value, Mapping) else {}


def sequence(value: Any) -> list[Any]:
    """A record as a list, empty for anything else."""
    # A string is a sequence too, of its characters.
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else []


def number(value: Any) -> float | None:
    """A figure, None for anything else."""
    return float(value) if isinstance(value, int | float) else None


def shown(value: Any, form: Callable[[float], str]) -> str:
    """A figure in the given form, a dash for anything else."""
    known = number(value)
    return "–" if known is None else form(known)
