"""Scores of ``lm_eval --model local-completions`` are those of our own evaluation."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.core.records import FloatArray, IntArray
from app.ensemble.routing import document_weights
from app.ensemble.rules import WeightingSettings
from app.evaluation.continuations import Scored, score_continuations
from app.lineage.inputs import seed_location
from app.models.causal import CausalLM
from app.tokens.tokenizer import export_tokenizer
from serve.ingress import make_api
from serve.replica import Replica
from tests.support.ensembles import demo_ensemble
from tests.support.needs import need
from tests.support.serving import listening, post, served
from tests.support.source import ROOT

HARNESS = ROOT / ".local/harness/bin/python"
QUESTIONS = (
    {"context": "12 January", "choices": [" 1999", " Montag", "."], "answer": 0},
    {"context": "Januar, Februar,", "choices": [" März", " 日本"], "answer": 0},
)
CONTEXT = 128


def ids_of(text: str) -> list[int]:
    return [int(token) for token in demo_ensemble().tokenizer.encode_batch([text])[0]]


def in_process(model: str, contexts: Sequence[list[int]], continuations: Sequence[list[int]]) -> list[Scored]:
    """What the evaluation says of continuations; contexts with the token that a text starts with."""
    ensemble = demo_ensemble()

    def rows_of(lm: CausalLM, rows: IntArray) -> FloatArray:
        with torch.no_grad():
            found: FloatArray = lm.logits(torch.from_numpy(rows)).double().log_softmax(-1).numpy()
        return found

    def mixed(rows: IntArray) -> FloatArray:
        """The running posterior over one text, told no language."""
        (row,) = rows
        experts = [ensemble.models[name] for name in ensemble.allocator.experts]
        each = np.stack([rows_of(expert, rows)[0] for expert in experts], axis=1)  # (T, experts, V)
        known = each[np.arange(len(row) - 1), :, row[1:]]
        padded = np.concatenate([known, np.zeros((1, known.shape[1]))])  # the last is looked at by nobody
        weights = document_weights(WeightingSettings("posterior"), [len(row)], padded).weights
        found: FloatArray = np.log(np.einsum("te,tev->tv", weights, np.exp(each)))[None]
        return found

    score = mixed if model == "ensemble" else lambda rows: rows_of(ensemble.models[model], rows)
    return [
        score_continuations(score, [(context[1:], continuation)], context[0], 0, CONTEXT, 1)[0]
        for context, continuation in zip(contexts, continuations, strict=True)
    ]


def as_the_harness_reads(answer: dict[str, Any], lengths: Sequence[int]) -> list[tuple[float, bool]]:
    """``LocalCompletionsAPI.parse_logprobs`` of lm_eval 0.4.13. lengths: tokens of each context."""
    found = []
    for choice, begin in zip(sorted(answer["choices"], key=lambda one: one["index"]), lengths, strict=True):
        values = choice["logprobs"]["token_logprobs"][begin:-1]
        tops = choice["logprobs"]["top_logprobs"][begin:-1]
        found.append((sum(values), all(value == max(top.values()) for value, top in zip(values, tops, strict=True))))
    return found


@pytest.mark.parametrize("start", [True, False], ids=["start_token", "bare"])
@pytest.mark.parametrize("model", ["dense", "ensemble"])
def test_the_requests_that_it_sends_are_scored_as_we_score(model: str, start: bool) -> None:
    """Several prompts of token ids a request; ids are taken as they are, with the start token or without."""
    tokenizer = demo_ensemble().tokenizer
    before = [tokenizer.start_id] if start else []
    pairs = [(before + ids_of(str(q["context"])), ids_of(choice)) for q in QUESTIONS for choice in q["choices"]]  # type: ignore[attr-defined]
    fixed = {"temperature": 0, "max_tokens": 1, "logprobs": 1, "seed": 1234, "echo": True}
    with served() as client:
        asked = [context_ + continuation for context_, continuation in pairs]
        whole = post(client, model=model, prompt=asked, **fixed)
        one = post(client, model=model, prompt=asked[:1], **fixed)
    assert whole.status_code == one.status_code == 200
    found = as_the_harness_reads(whole.json(), [len(context_) for context_, _ in pairs])
    expected = in_process(model, [context_ for context_, _ in pairs], [continuation for _, continuation in pairs])
    assert [value for value, _ in found] == pytest.approx([each.log_prob for each in expected], abs=1e-4)
    assert [greedy for _, greedy in found] == [each.greedy for each in expected]
    assert as_the_harness_reads(one.json(), [len(pairs[0][0])])[0][0] == pytest.approx(found[0][0], abs=1e-5)


@pytest.mark.rare
@pytest.mark.timeout(400)
@pytest.mark.parametrize("model", ["dense", "ensemble"])
def test_the_harness_itself_reports_what_our_evaluation_does(tmp_path: Path, model: str) -> None:
    need("lm_eval", HARNESS.exists(), "make harness")
    export_tokenizer(seed_location("builtin:demo"), str(tmp_path / "tokenizer"), CONTEXT)
    (tmp_path / "ours.jsonl").write_text("".join(json.dumps(question) + "\n" for question in QUESTIONS))
    task = {
        "task": "ours",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "ours.jsonl")}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{context}}",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "answer",
        "target_delimiter": "",
        "metric_list": [{"metric": "acc"}],
    }
    (tmp_path / "ours.yaml").write_text(json.dumps(task))  # JSON is YAML
    replica = Replica(demo_ensemble(), 4)
    try:
        with listening(make_api(replica, keys=("right",))) as address:
            _run(tmp_path, model, address)
    finally:
        replica.close()
    (samples,) = (tmp_path / "out").rglob("samples_ours_*.jsonl")
    lines = [json.loads(line) for line in samples.read_text().splitlines()]
    found = [pair for line in sorted(lines, key=lambda line: line["doc_id"]) for pair in line["filtered_resps"]]
    start = [demo_ensemble().tokenizer.start_id]
    pairs = [(start + ids_of(str(q["context"])), ids_of(choice)) for q in QUESTIONS for choice in q["choices"]]  # type: ignore[attr-defined]
    expected = in_process(model, [context for context, _ in pairs], [continuation for _, continuation in pairs])
    assert [float(value) for value, _ in found] == pytest.approx([each.log_prob for each in expected], abs=1e-4)
    assert [greedy == "True" for _, greedy in found] == [each.greedy for each in expected]


def _run(folder: Path, model: str, address: str) -> None:
    """``lm_eval`` as ``docs/howto/serve.md`` says, and nothing leaves the machine."""
    model_args = (
        f"model={model},base_url={address}/v1/completions,max_length={CONTEXT},num_concurrent=2,"
        f"tokenizer_backend=huggingface,tokenizer={folder / 'tokenizer'},add_bos_token=True"
    )
    command = [str(HARNESS), "-m", "lm_eval", "--model", "local-completions", "--model_args", model_args]
    command += ["--tasks", "ours", "--include_path", str(folder), "--batch_size", "2"]
    command += ["--output_path", str(folder / "out"), "--log_samples"]
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(folder / "home")}
    environment = {**os.environ, **offline, "OPENAI_API_KEY": "right"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=360)
    assert done.returncode == 0, done.stderr[-3000:]
