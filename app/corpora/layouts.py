"""Where the Hub's multilingual corpora keep each language, and what their columns are called.

The names of languages differ (``he``, ``iw``, ``heb_Hebr``); folders are therefore listed and their names normalised,
so that every folder of a language is found: HPLT's ``zho_Hans`` and ``zho_Hant`` are both zh. Revisions are pinned;
layouts were read from the Hub's listings and from programs that use them, not from a download.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

MC4_NAME = re.compile(r"c4-([A-Za-z]{2,3}(?:-(?:Latn|multi))?)(-validation)?\.")
"""Name of an mC4 file: language, and whether it is validation."""


@dataclass(frozen=True)
class Layout:
    """One corpus of the Hub.

    ``files``: split (None: by hash of the document) and pattern below ``root``, with ``{code}`` for the language.
    ``codes``: our code to theirs where files lie flat; None where each language has folders below ``root``.
    ``columns``: our column names to theirs. ``line_break``: what stands for one in the text, if it is not one.
    ``hint``: what to know when a language is not there or the Hub refuses.
    """

    repository: str
    revision: str
    size: str
    files: tuple[tuple[str | None, str], ...]
    root: str = ""
    codes: Mapping[str, str] | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    line_break: str = ""
    hint: str = ""


def _madlad400(quality: str) -> Layout:
    return Layout(
        repository="datasets/allenai/MADLAD-400",
        revision="4d918a05d77135bf10ff5a78322a0096e20e0e81",
        size="419 languages",
        root="data",
        files=((None, f"{{code}}/{{code}}_{quality}_*.jsonl.gz"),),
        line_break="\\n",
    )


LAYOUTS: Mapping[str, Layout] = {
    "mc4": Layout(
        repository="datasets/allenai/c4",
        revision="1588ec454efa1a09f29cd18ddd04fe05fc8653a2",
        size="9.7 TB",
        root="multilingual",
        files=(("train", "c4-{code}.*.json.gz"), ("validation", "c4-{code}-validation.*.json.gz")),
        # mC4 keeps the old code of Hebrew.
        codes={"he": "iw"},
    ),
    "culturax": Layout(
        repository="datasets/uonlp/CulturaX",
        revision="6a8734bc69fefcbb7735f4f9250f43e4cd7a442e",
        size="16 TB",
        files=((None, "{code}/{code}_part_*.parquet"),),
        hint="CulturaX is gated: accept its terms on the Hub and log in with `hf auth login`",
    ),
    "madlad400": _madlad400("clean"),
    "madlad400-noisy": _madlad400("noisy"),
    "fineweb2": Layout(
        repository="datasets/HuggingFaceFW/fineweb-2",
        revision="af9c13333eb981300149d5ca60a8e9d659b276b9",
        size="over 1,000 languages",
        root="data",
        files=((None, "{code}/train/*.parquet"),),
        columns={"timestamp": "date", "lang": "language"},
        hint="FineWeb-2 has no English: that is FineWeb, to be read with corpus.source=files",
    ),
    "hplt": Layout(
        repository="datasets/HPLT/HPLT2.0_cleaned",
        revision="52c13d6fc78f7ec3b0fdfb3d54d8885eb4a2e467",
        size="193 languages",
        files=((None, "{code}/*.parquet"), (None, "{code}/*.jsonl.zst")),
        columns={"url": "u", "timestamp": "ts"},
        hint="this is HPLT 2.0; for another release, download it and set corpus.path to the folder of its languages",
    ),
}
"""Corpora of the Hub by ``corpus.source``. ``test`` splits, MADLAD's other quality and FineWeb-2's ``_removed``
documents match no pattern and are left alone; HPLT's own downloads are jsonl.zst in folders of the same names."""
