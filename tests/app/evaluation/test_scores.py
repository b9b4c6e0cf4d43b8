from __future__ import annotations

from pathlib import Path

import numpy as np

from app.artifacts.manifest import Manifest
from app.artifacts.store import StageFolder, Store
from app.evaluation.scores import ScoredDocuments, read_blocks, save_block, scored_documents


def test_documents_lie_end_to_end_in_the_token_array() -> None:
    documents = scored_documents(["a", "b", "c"], ["de", "de", "sw"], [3, 1, 2], [9, 4, 5])
    assert documents.offset.tolist() == [0, 3, 4] and documents.num_tokens == 6 and len(documents) == 3
    values = np.arange(6)
    assert [values[documents.tokens(i)].tolist() for i in range(3)] == [[0, 1, 2], [3], [4, 5]]


def scored(store: Store, name: str, blocks: list[tuple[ScoredDocuments, list[float]]]) -> StageFolder:
    stage = store.stage("scores", name)
    for number, (documents, values) in enumerate(blocks):
        save_block(stage, number, documents, np.array(values, dtype=np.float32))
    counts = {"tokens": 4, "documents": 3, "blocks": len(blocks)}
    stage.publish(Manifest("scores", name, {}, {}, counts))
    return stage


def test_blocks_survive_the_way_to_disk(tmp_path: Path) -> None:
    one, two = scored_documents(["a", "b"], ["de", "sw"], [2, 1], [9, 4]), scored_documents(["c"], ["sw"], [1], [5])
    store = Store(str(tmp_path))
    stages = {
        "dense": scored(store, "k0", [(one, [-1.5, -0.25, -7.0]), (two, [-2.0])]),
        "seed": scored(store, "k1", [(one, [-3.0, -4.0, -5.0]), (two, [-6.0])]),
    }
    blocks = list(read_blocks(stages))
    assert [block.documents.doc_ids for block in blocks] == [("a", "b"), ("c",)]
    assert [block.log_probs["seed"].tolist() for block in blocks] == [[-3, -4, -5], [-6]]
    assert [block.documents.langs for block in blocks] == [("de", "sw"), ("sw",)]
    assert [block.documents.offset.tolist() for block in blocks] == [[0, 2], [0]]
    assert [block.documents.length.tolist() for block in blocks] == [[2, 1], [1]]
    assert [block.documents.bytes.tolist() for block in blocks] == [[9, 4], [5]]
    values = [block.log_probs["dense"] for block in blocks]
    assert values[0].dtype == np.float32 and [of.tolist() for of in values] == [[-1.5, -0.25, -7.0], [-2.0]]


def test_pieces_are_whole_documents_and_a_document_that_is_too_long_is_one() -> None:
    lengths = [3, 1, 2, 9, 1]
    documents, values = scored_documents(list("abcde"), ["de"] * 5, lengths, [1] * 5), np.arange(16)
    found = list(documents.pieces(4))
    assert [piece.doc_ids for piece, _ in found] == [("a", "b"), ("c",), ("d",), ("e",)]
    for piece, tokens in found:
        for place, name in enumerate(piece.doc_ids):
            own = values[documents.tokens("abcde".index(name))]
            assert values[tokens][piece.tokens(place)].tolist() == own.tolist()


def test_no_documents_make_an_empty_index() -> None:
    documents = scored_documents([], [], [], [])
    assert len(documents) == 0 and documents.num_tokens == 0
