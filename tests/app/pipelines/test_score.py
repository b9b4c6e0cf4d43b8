from __future__ import annotations

from pathlib import Path

import pytest

from app.config.load import load_config
from app.core.errors import CorpusError
from app.lineage.inputs import seed_location
from app.pipelines.score import validation_documents
from app.tokens.dataset import TokenCorpus
from app.tokens.tokenizer import load_tokenizer
from tests.support.token_store import write_corpus

TOKENIZER = load_tokenizer(seed_location("builtin:demo"))
LONG, SHORT = "Zürich, 12 Grad; Zürich, 13 Grad", "東京"


def corpus(folder: Path, texts: dict[str, list[str]]) -> TokenCorpus:
    """Held-out documents whose index says 3 bytes a token, whatever their text."""
    ids = {
        lang: [[[*row.tolist(), TOKENIZER.end_id] for row in TOKENIZER.encode_batch(documents)]]
        for lang, documents in texts.items()
    }
    written = write_corpus(folder, ids, split="validation")
    written.languages = lambda: tuple(sorted(texts))  # type: ignore[method-assign]  # it has no training text
    return written


@pytest.mark.parametrize("cut", [4, 7])
def test_a_document_that_is_cut_counts_the_bytes_of_what_is_scored_and_a_whole_one_all_it_has(
    tmp_path: Path, cut: int
) -> None:
    config = load_config("demo", overrides=[f"evaluation.max_tokens_per_document={cut}"])
    documents, ids = validation_documents(config, corpus(tmp_path, {"de": [LONG], "ja": ["東"]}), TOKENIZER)
    kept = TOKENIZER.encode_batch([LONG])[0][:cut]
    assert ids[0].tolist() == kept.tolist()
    assert documents.bytes[0] == len("".join(TOKENIZER.pieces(kept.tolist())).encode()) < len(LONG.encode())
    assert documents.bytes[1] == 3 * len(ids[1]) and ids[1][-1] == TOKENIZER.end_id


def test_each_language_gives_its_first_documents_up_to_the_limit(tmp_path: Path) -> None:
    config = load_config("demo", overrides=["evaluation.max_documents_per_language=2"])
    found, _ = validation_documents(config, corpus(tmp_path, {"ja": [SHORT] * 3, "de": [LONG]}), TOKENIZER)
    assert found.langs == ("de", "ja", "ja") and found.doc_ids[1:] == (f"{0:016x}", f"{1:016x}")


def test_without_held_out_text_the_cure_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"corpus\.validation_fraction"):
        validation_documents(load_config("demo"), corpus(tmp_path, {"de": []}), TOKENIZER)
