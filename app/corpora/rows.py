"""One row of a file before it is known whether it is a document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.corpora.base import Reason

SAMPLE_CHARACTERS = 200
"""What is kept of a row that is not used."""


@dataclass(frozen=True)
class Row:
    """``number`` counts from 1; a row that cannot be read has a ``reason`` and a ``sample`` in place of values."""

    number: int
    values: Mapping[str, Any]
    reason: Reason | None = None
    sample: str = ""
