from __future__ import annotations

from pathlib import Path

import numpy as np

from app.artifacts.store import Folder
from app.evaluation.scores import load_scores, save_scores, scored_documents


def test_documents_lie_end_to_end_in_the_token_array() -> None:
    documents = scored_documents(["a", "b", "c"], ["de", "de", "sw"], [3, 1, 2], [9, 4, 5])
    assert documents.offset.tolist() == [0, 3, 4] and documents.num_tokens == 6 and len(documents) == 3
    values = np.arange(6)
    assert [values[documents.tokens(i)].tolist() for i in range(3)] == [[0, 1, 2], [3], [4, 5]]


def test_scores_survive_the_way_to_disk(tmp_path: Path) -> None:
    documents = scored_documents(["a", "b"], ["de", "sw"], [2, 1], [9, 4])
    values = np.array([-1.5, -0.25, -7.0], dtype=np.float32)
    save_scores(Folder(str(tmp_path)), documents, values)
    loaded, again = load_scores(Folder(str(tmp_path)))
    assert (loaded.doc_ids, loaded.langs) == (documents.doc_ids, documents.langs)
    for name in ("offset", "length", "bytes"):
        assert getattr(loaded, name).tolist() == getattr(documents, name).tolist()
    assert again.dtype == np.float32 and again.tolist() == values.tolist()


def test_no_documents_make_an_empty_index() -> None:
    documents = scored_documents([], [], [], [])
    assert len(documents) == 0 and documents.num_tokens == 0
