from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import training
from benchmarks.trainers import Case, library_model, our_model, train_ours, train_with_trainer

CASE = Case("tiny", 2048, 16, 1, 2, 32, sequence_length=16, rows_per_step=4, steps=3)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def test_both_sides_compute_the_same_steps() -> None:
    rows = np.random.default_rng(0).integers(CASE.vocab_size, size=(12, CASE.sequence_length + 1))
    ours, library = our_model(CASE), library_model(CASE)
    losses = train_ours(CASE, ours, rows, 3, "cpu"), train_with_trainer(CASE, library, rows, 3, "cpu")
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    assert torch.allclose(ours.head, library.get_output_embeddings().weight, atol=1e-4)


def test_rows_are_real_text_for_every_step_and_more(tmp_path: Path) -> None:
    training.write_rows("", CASE, tmp_path / "rows.npy")
    rows = np.load(tmp_path / "rows.npy")
    assert rows.shape == (CASE.rows_per_step * (CASE.steps + 2), CASE.sequence_length + 1)
    assert len(np.unique(rows)) > 50


def test_a_comparison_has_ratios_targets_and_the_floor(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "SMALL_CASES", (CASE,))
    assert training.main(["--small", "--turns", "1", "--format", "json"]) == 0
    record = json.loads(capsys.readouterr().out)
    cell = record["cases"]["tiny"]
    assert cell["case"] == asdict(CASE) and cell["ours"]["tokens"] == CASE.steps * CASE.tokens_per_step
    assert cell["ours"]["loss"] == pytest.approx(cell["trainer"]["loss"], abs=1e-4)
    assert 0 < cell["ours"]["share_of_floor"] < 1
    assert {"ratio", "low", "high", "target", "met"} == set(cell["tokens_per_cpu_second"])
