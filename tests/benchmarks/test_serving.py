from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from app.ensemble.engine import Engine
from app.ensemble.local_client import LocalClient
from app.ensemble.requests import Request
from app.ensemble.sampling import Sampling
from app.models.stacked import stack_models
from benchmarks.serving import FASTER, SMALL, main
from benchmarks.serving_price import CHEAPER
from benchmarks.serving_sides import FixedWeights, NoText, even, library, naive_decode, naive_score, request


def test_both_sides_make_the_same_tokens_and_scores() -> None:
    made = SMALL
    models = made.experts()
    naive = [library(model) for model in models]
    engine = Engine(LocalClient([stack_models(models)], slots=2, length=made.context))
    prompt = np.random.default_rng(1).integers(2, made.vocab_size, size=made.prompt).tolist()
    scored = Request(prompt, range(8), lambda _: FixedWeights(even(8)), NoText, Sampling(0), echo=True, logprobs=5)
    engine.submit(request(made, prompt, even(8)))
    engine.submit(scored)
    updates = []
    while engine.load.running or engine.load.waiting:
        updates += engine.step()
    tokens = [step.token for update in updates if update.request == 0 for step in update.steps]
    assert tokens == naive_decode(naive, even(8), prompt, made.tokens).tolist()
    scores = [step.log_prob for update in updates if update.request == 1 for step in update.prompt[1:]]
    torch.testing.assert_close(torch.tensor(scores), naive_score(naive, even(8), prompt), atol=1e-5, rtol=0)


def test_the_record_has_a_ratio_for_every_task(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--small", "--turns", "1", "--format", "json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert list(record["ratio_to_naive"]) == list(FASTER)
    assert list(record["over_one_expert"]) == list(CHEAPER) and record["text"] == "almanac"
    for cell in (*record["ratio_to_naive"].values(), *record["over_one_expert"].values()):
        assert cell["ratio"] > 0 and "target" in cell
    assert all(cell["possible"] > 0 for cell in record["ratio_to_naive"].values())
