from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import clustering


def test_fitted_and_unseen_documents_are_different_and_equally_many_of_each_language(tmp_path: Path) -> None:
    clustering.write_documents("", 3, tmp_path)
    fitted, unseen = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("fitted", "unseen"))
    assert len(fitted) == len(unseen) == 3 * 16
    assert sorted(row["lang"] for row in fitted) == sorted(row["lang"] for row in unseen)
    assert not {row["doc_id"] for row in fitted} & {row["doc_id"] for row in unseen}


@pytest.mark.parametrize("side", [clustering.ours, clustering.ours_char, clustering.published, clustering.same_terms])
def test_every_side_clusters_every_document(side: clustering.Side, tmp_path: Path) -> None:
    clustering.write_documents("", 8, tmp_path)
    figures = side(str(tmp_path), 4)
    agreement, balance = figures["normalised_mutual_information"], figures["max_over_mean"]
    assert isinstance(agreement, float) and 0.2 < agreement <= 1
    assert isinstance(balance, float) and 1 <= balance <= 4
    assert figures["documents_fitted"] == 128


def test_balanced_centres_of_separate_groups_are_their_means() -> None:
    groups = np.array([[0.0, 0.0], [10.0, 0.0]])
    rows = np.repeat(groups, 20, axis=0) + np.random.default_rng(0).normal(0, 0.1, (40, 2))
    centres = clustering.balanced_centres(rows, 2)
    assert sorted(centres[:, 0]) == pytest.approx([rows[:20, 0].mean(), rows[20:, 0].mean()])
