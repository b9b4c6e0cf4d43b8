from __future__ import annotations

from pathlib import Path

import pytest

from app.artifacts.store import Folder
from app.core.errors import CorruptArtifact, MissingArtifact
from app.tokens.dataset import TokenCorpus
from tests.support.token_store import numbered, write_corpus


def test_documents_come_in_order_across_parts(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path, {"de": [[[5, 6], [7]], [[70_000, 8]]]}, "uint32")
    assert corpus.languages() == ("de",) and corpus.token_bytes == 4
    found = list(corpus.documents("de", "train"))
    assert [document.ids.tolist() for document in found] == [[5, 6], [7], [70_000, 8]]
    assert [document.bytes for document in found] == [6, 3, 6]
    assert [document.doc_id for document in found] == ["0" * 16, "0" * 15 + "1", "0" * 16]
    assert list(corpus.documents("de", "validation")) == []


def test_what_is_counted_is_known_without_a_token_file(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path, numbered({"de": [[9, 7], [30]], "sw": [[40]]}))
    for path in [*tmp_path.rglob("*.bin"), *tmp_path.rglob("*.npy")]:
        path.unlink()
    corpus = TokenCorpus.open(Folder(str(tmp_path)))
    assert corpus.counts.training_tokens() == {"de": 46, "sw": 40}
    assert [part.documents for part in corpus.counts.parts("de", "train")] == [2, 1]


def test_a_language_with_held_out_text_only_is_no_training_language(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path, numbered({"de": [[9]]}), split="validation")
    assert corpus.languages() == () and corpus.counts.languages("validation") == ("de",)


def test_a_folder_without_tokens_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match=r"jobs\.tokenize"):
        TokenCorpus.open(Folder(str(tmp_path)))


def test_a_torn_part_is_refused(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path, numbered({"de": [[20]]}))
    path = tmp_path / "de/train/part-00000-000.bin"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(CorruptArtifact, match="has 38 bytes, its index says 20 tokens of 2 bytes"):
        list(corpus.documents("de", "train"))
