from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform

from app.probes import compare
from app.probes.compare import probe_distances


@pytest.mark.parametrize("probe", ["deviation", "gradient"])
def test_vectors_are_compared_by_one_minus_cosine(probe: str) -> None:
    found = probe_distances(probe, [np.array([1.0, 0.0]), np.array([0.0, 3.0]), np.array([2.0, 2.0])])
    half = 1 - np.sqrt(0.5)
    assert found == pytest.approx(np.array([[0, 1, half], [1, 0, half], [half, half, 0]]))


def test_representations_are_compared_around_their_mean() -> None:
    shift = np.array([10.0, 10.0])
    vectors = [np.array([1.0, 0.0]), np.array([-1.0, 0.0]), np.array([0.0, 1.0]), np.array([0.0, -1.0])]
    found = probe_distances("representation", [vector + shift for vector in vectors])
    assert found[0] == pytest.approx([0.0, 2.0, 1.0, 1.0])


def test_languages_that_help_each_other_are_near() -> None:
    # training on 0 lowers the loss on 1 by 0.4, on 1 that on 0 by 0.2; 2 hurts both
    change = [np.array([-1.0, -0.4, 0.1]), np.array([-0.2, -1.0, 0.3]), np.array([0.1, 0.2, -1.0])]
    found = probe_distances("transfer", change)
    assert found == pytest.approx(np.array([[0, -0.3, 0.1], [-0.3, 0, 0.25], [0.1, 0.25, 0]]))


@pytest.mark.parametrize("probe", ["gradient", "representation"])
def test_vectors_are_compared_part_by_part_with_the_same_result(probe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = list(np.random.default_rng(1).normal(size=(4, 103)).astype(np.float32))
    whole = probe_distances(probe, measured)
    table = np.stack(measured).astype(np.float64)
    table -= table.mean(axis=0) if probe == "representation" else 0.0
    assert whole == pytest.approx(squareform(pdist(table, "cosine")), abs=1e-12)
    monkeypatch.setattr(compare, "_NUMBERS_AT_ONCE", 10)
    assert probe_distances(probe, measured) == pytest.approx(whole, abs=1e-12)


def test_mapped_vectors_are_not_read_whole(tmp_path: Path) -> None:
    measured = []
    for number in range(3):
        np.save(tmp_path / f"{number}.npy", np.full(3 << 20, number + 1.0, dtype=np.float32))
        measured.append(np.load(tmp_path / f"{number}.npy", mmap_mode="r"))
    tracemalloc.start()
    assert probe_distances("gradient", measured) == pytest.approx(0.0, abs=1e-12)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 24 << 20, "parts of each, 12 MiB, and not 72 MiB"
