"""Held-out documents in two halves: one chooses, the other reports."""

from __future__ import annotations

from collections.abc import Sequence

from app.core.seeding import derive_seed


def half_of(doc_ids: Sequence[str], langs: Sequence[str], half: int) -> list[int]:
    """Places of every second document of each language in the order of a hash of their names, from the first (``half``
    0) or the second (1) on.
    """
    chosen: list[int] = []
    for lang in sorted(set(langs)):
        mine = [place for place, other in enumerate(langs) if other == lang]
        # A fixed seed, so that every run has the same halves; a hash, as a corpus's own order may mean something.
        chosen += sorted(mine, key=lambda place: derive_seed(0, "half", doc_ids[place]))[half::2]
    return chosen
