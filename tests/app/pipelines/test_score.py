from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from app.artifacts.counts import ScoresCounts
from app.artifacts.manifest import Manifest
from app.artifacts.store import Store
from app.config.load import load_config
from app.core.errors import CorpusError
from app.evaluation.scores import save_block, scored_documents
from app.lineage.inputs import seed_location
from app.pipelines.score import nats_per_token, score_blocks, validation_blocks
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
    ((documents, ids),) = validation_blocks(config, corpus(tmp_path, {"de": [LONG], "ja": ["東"]}), TOKENIZER)
    kept = TOKENIZER.encode_batch([LONG])[0][:cut]
    assert ids[0].tolist() == kept.tolist()
    assert documents.bytes[0] == len("".join(TOKENIZER.pieces(kept.tolist())).encode()) < len(LONG.encode())
    assert documents.bytes[1] == 3 * len(ids[1]) and ids[1][-1] == TOKENIZER.end_id


def test_each_language_gives_its_first_documents_up_to_the_limit(tmp_path: Path) -> None:
    config = load_config("demo", overrides=["evaluation.max_documents_per_language=2"])
    ((found, _),) = validation_blocks(config, corpus(tmp_path, {"ja": [SHORT] * 3, "de": [LONG]}), TOKENIZER)
    assert found.langs == ("de", "ja", "ja") and found.doc_ids[1:] == (f"{0:016x}", f"{1:016x}")


def test_without_held_out_text_the_cure_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"corpus\.validation_fraction"):
        list(validation_blocks(load_config("demo"), corpus(tmp_path, {"de": []}), TOKENIZER))


@pytest.mark.parametrize("protocol", ["document", "paper"])
def test_blocks_hold_the_documents_of_the_whole_text_in_order_and_close_when_they_are_full(
    tmp_path: Path, protocol: str
) -> None:
    config = load_config("demo", overrides=[f"evaluation.protocol={protocol}", "training.sequence_length=8"])
    text = corpus(tmp_path, {"de": [LONG, SHORT, LONG], "ja": [SHORT, LONG]})
    ((whole, ids),) = validation_blocks(config, text, TOKENIZER)
    blocks = list(validation_blocks(config, text, TOKENIZER, block_tokens=20))
    assert len(blocks) > 1
    assert [name for found, _ in blocks for name in found.doc_ids] == list(whole.doc_ids)
    assert [lang for found, _ in blocks for lang in found.langs] == list(whole.langs)
    assert [row.tolist() for _, some in blocks for row in some] == [row.tolist() for row in ids]
    for found, _ in blocks[:-1]:
        assert found.num_tokens >= 20 > found.num_tokens - found.length[-1]


def test_a_block_that_is_scored_is_not_scored_again(tmp_path: Path) -> None:
    config, store = load_config("demo"), Store(str(tmp_path / "store"))
    text, stage = corpus(tmp_path, {"de": [LONG, SHORT], "ja": [LONG]}), store.stage("scores", "k")
    killed: list[np.ndarray] = []

    def rows_of(rows: np.ndarray, _targets: np.ndarray) -> np.ndarray:
        return np.full(rows.shape, -1.0, dtype=np.float32)

    def dies_second(rows: np.ndarray, targets: np.ndarray) -> np.ndarray:
        killed.append(rows)
        if len(killed) == 2:
            raise InterruptedError
        return rows_of(rows, targets)

    blocks = list(validation_blocks(config, text, TOKENIZER, block_tokens=1))
    with pytest.raises(InterruptedError):
        score_blocks(config, text, blocks, dies_second, stage)
    counts, scored = score_blocks(config, text, blocks, rows_of, stage)
    assert counts == ScoresCounts(sum(found.num_tokens for found, _ in blocks), 3, 3)
    assert scored == counts.tokens - blocks[0][0].num_tokens


def test_four_times_the_documents_are_scored_in_as_much_memory(tmp_path: Path) -> None:
    config = load_config("demo", overrides=["evaluation.max_documents_per_language=100000"])

    def rows_of(rows: np.ndarray, _targets: np.ndarray) -> np.ndarray:
        return np.full(rows.shape, -1.0, dtype=np.float32)

    def peak(parts: int) -> int:
        documents = [[5] * 9 + [TOKENIZER.end_id]] * 500
        text = write_corpus(tmp_path / f"text-{parts}", {"de": [documents] * parts}, split="validation")
        text.languages = lambda: ("de",)  # type: ignore[method-assign]
        stage = Store(str(tmp_path / "store")).stage("scores", f"of-{parts}")
        tracemalloc.start()
        counts, _ = score_blocks(config, text, validation_blocks(config, text, TOKENIZER, 5_000), rows_of, stage)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert counts == ScoresCounts(5_000 * parts, 500 * parts, parts)
        return most

    peak(1)
    assert peak(24) <= 1.1 * peak(6)


def test_nats_per_token_are_means_over_the_tokens_of_all_blocks(tmp_path: Path) -> None:
    stage = Store(str(tmp_path)).stage("scores", "k")
    save_block(stage, 0, scored_documents(["a", "b"], ["de", "sw"], [2, 1], [5, 5]), np.float32([-1, -2, -5]))
    save_block(stage, 1, scored_documents(["c"], ["de"], [1], [5]), np.float32([-6]))
    stage.publish(Manifest("scores", "k", {}, {}, {"tokens": 4, "documents": 3, "blocks": 2}))
    assert nats_per_token({"dense": stage}) == {"dense": {"de": 3.0, "sw": 5.0}}
