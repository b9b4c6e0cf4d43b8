from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.artifacts.layout import DOCUMENT_ROWS
from app.artifacts.store import Folder
from app.core.errors import MissingArtifact
from app.evaluation.document_rows import open_rows, row_writer
from app.evaluation.scores import scored_documents

FIRST = scored_documents(["a", "b"], ["de", "sw"], [2, 3], [5, 6])
SECOND = scored_documents(["c"], ["sw"], [4], [7])


def test_each_block_is_a_row_group_with_the_columns_that_are_asked_for(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    with row_writer(folder, ["dense", "ensemble"]) as rows:
        rows.add(FIRST, {"ensemble": np.array([-1.5, -2.0]), "dense": np.array([-3.0, -4.0])})
        rows.add(SECOND, {"ensemble": np.array([-5.0]), "dense": np.array([-6.0])})
        assert not folder.exists(DOCUMENT_ROWS), "seen before it is whole"
    with open_rows(folder) as read:
        assert read.columns == ("doc_id", "lang", "tokens", "bytes", "dense", "ensemble")
        groups = [
            {name: column.tolist() for name, column in group.items()} for group in read.groups(["lang", "ensemble"])
        ]
    assert groups == [{"lang": ["de", "sw"], "ensemble": [-1.5, -2.0]}, {"lang": ["sw"], "ensemble": [-5.0]}]


def test_rows_whose_writing_failed_are_not_there(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    with pytest.raises(ZeroDivisionError), row_writer(folder, ["dense"]):
        raise ZeroDivisionError
    with pytest.raises(MissingArtifact), open_rows(folder):
        pass
