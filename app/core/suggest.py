"""Helpful words for an unknown value."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(value: str, known: Iterable[str], n: int = 3) -> list[str]:
    """At most n known values that look like ``value``, the closest first."""
    return difflib.get_close_matches(value, list(known), n=n, cutoff=0.5)


def unknown_value(kind: str, value: str, known: Iterable[str]) -> str:
    """One sentence: what is unknown, what was perhaps meant, what is known."""
    names = sorted(known)
    close = nearest(value, names, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ";"
    return f"unknown {kind} {value!r}{hint} known: {', '.join(names)}"
