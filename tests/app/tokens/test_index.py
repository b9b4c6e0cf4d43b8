from __future__ import annotations

import io

import numpy as np

from app.tokens.index import RECORD, document_id, document_numbers, index_file


def test_ids_are_kept_as_numbers_without_loss() -> None:
    ids = ["0000000000000000", "00000000000000ff", "ffffffffffffffff", "0123456789abcdef"]
    numbers = document_numbers(ids)
    assert numbers.tolist() == [0, 255, 2**64 - 1, 0x0123456789ABCDEF]
    assert [document_id(int(number)) for number in numbers] == ids
    assert document_numbers([]).shape == (0,)


def test_an_index_says_where_each_document_stands() -> None:
    data = index_file(["0" * 16, "0" * 15 + "7"], np.array([3, 4]), [10, 20])
    index = np.load(io.BytesIO(data), allow_pickle=False)
    assert index.dtype == RECORD
    assert index.tolist() == [(0, 0, 3, 10), (7, 3, 4, 20)]
