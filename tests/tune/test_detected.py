from __future__ import annotations

from pathlib import Path

import pytest

from app.artifacts.store import Store
from app.config.load import load_config
from app.config.schema import Config
from app.core.errors import ConfigError, MissingArtifact
from tune import detected
from tune.detected import BEGINNING, detected_languages
from tune.kept import read_kept


def test_every_scored_document_with_letters_has_the_language_that_its_first_tokens_look_like(
    tiny_run: tuple[Config, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, kept, _ = read_kept(*tiny_run)
    names = kept.documents.doc_ids
    found = detected_languages(*tiny_run, names)
    assert set(found) <= set(kept.documents.doc_ids) and len(found) > 0.9 * len(kept.documents)
    # Scripts of their own cannot be taken for one another.
    own = dict(zip(kept.documents.doc_ids, kept.documents.langs, strict=True))
    assert {found[name] for name in found if own[name] in ("hi", "ja")} == {"hi", "ja"}
    assert all(found[name] == own[name] for name in found if own[name] in ("hi", "ja"))
    read = []

    def noted(text: str, among: tuple[str, ...]) -> None:
        read.append((text, among))

    monkeypatch.setattr(detected, "most_likely", noted)
    assert detected_languages(*tiny_run, names[:9]) == {}
    assert len(read) == 9 and detected_languages(*tiny_run, names) == {}
    assert len(read) == 9 + kept.of and {among for _, among in read} == {("de", "en", "hi", "ja")}
    assert max(len(text) for text, _ in read) < BEGINNING * 20


def test_without_the_library_nothing_is_detected_and_the_extra_is_named(
    tiny_run: tuple[Config, Store], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def missing(*_: object) -> None:
        raise ConfigError("takes the extra langid")

    monkeypatch.setattr(detected, "most_likely", missing)
    _, kept, _ = read_kept(*tiny_run)
    assert detected_languages(*tiny_run, kept.documents.doc_ids) == {}
    assert "the languages of documents are not detected: takes the extra langid" in caplog.text


def test_a_run_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match=r"runs/demo holds no run"):
        detected_languages(load_config("demo"), Store(str(tmp_path)), [])
