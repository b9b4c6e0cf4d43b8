from __future__ import annotations

import re

import pytest

from app.config.corpus import CorpusConfig
from app.corpora.layouts import LAYOUTS
from app.corpora.readers import is_readable


@pytest.mark.parametrize("source", LAYOUTS)
def test_a_layout_is_pinned_and_its_files_are_readable(source: str) -> None:
    layout = LAYOUTS[source]
    assert re.fullmatch(r"datasets/[\w.-]+/[\w.-]+", layout.repository)
    assert re.fullmatch(r"[0-9a-f]{40}", layout.revision)
    for split, pattern in layout.files:
        assert split in (None, "train", "validation") and is_readable(pattern) and "{code}" in pattern
    assert set(layout.columns) <= {"text", "url", "timestamp", "lang", "source"}


@pytest.mark.parametrize("source", LAYOUTS)
def test_every_layout_can_be_configured(source: str) -> None:
    assert CorpusConfig.model_validate({"source": source}).source == source
