"""Plain records and type aliases shared by every layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]
Array: TypeAlias = NDArray[Any]

JsonValue: TypeAlias = "bool | int | float | str | Sequence[JsonValue] | Mapping[str, JsonValue] | None"
JsonObject: TypeAlias = dict[str, JsonValue]


@dataclass(frozen=True)
class Document:
    """One web page. ``lang`` is normalised (``app.core.languages``); ``timestamp`` is ISO 8601 or empty."""

    doc_id: str
    lang: str
    text: str
    url: str
    timestamp: str


@dataclass(frozen=True)
class DocumentBatch:
    """Documents as columns of equal length; a column that nobody reads may be empty.

    tokens: ids of each document, without start and end token.
    """

    doc_ids: tuple[str, ...]
    langs: tuple[str, ...]
    texts: tuple[str, ...] = ()
    tokens: tuple[IntArray, ...] = ()

    def __len__(self) -> int:
        return len(self.doc_ids)

    def rows(self, start: int, stop: int, step: int = 1) -> DocumentBatch:
        """Each ``step``-th of the documents start..stop-1; fewer at the end."""
        chosen = slice(start, stop, step)
        return DocumentBatch(self.doc_ids[chosen], self.langs[chosen], self.texts[chosen], self.tokens[chosen])
