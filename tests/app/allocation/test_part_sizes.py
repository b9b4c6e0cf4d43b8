from __future__ import annotations

import numpy as np
import pytest

from app.allocation.part_sizes import allocation_report


def test_counts_by_language_and_expert() -> None:
    report = allocation_report(["en", "de", "en", "en"], np.array([0, 2, 0, 2]), 3)
    assert report.languages == ("de", "en")
    assert report.by_language.tolist() == [[0, 0, 1], [2, 0, 1]]
    assert report.sizes.tolist() == [2, 0, 2]
    assert report.max_over_mean == pytest.approx(1.5)
