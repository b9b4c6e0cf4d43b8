from __future__ import annotations

import hashlib
import math
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from app.artifacts.ensemble import read_ensemble
from app.artifacts.store import Store
from app.config.load import load_config
from app.config.schema import Config
from app.corpora.shards import read_documents
from app.lineage.lineage import Lineage
from app.pipelines.everything import run_everything

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

Run = tuple[Config, Store]


def _with(config: Config, *overrides: str) -> Config:
    import yaml

    from app.config.load import resolved

    path = Path(config.artifacts.root) / "base.yaml"
    path.write_text(yaml.safe_dump(resolved(config)))
    return load_config(None, str(path), overrides)


def test_the_summary_holds_what_others_rely_on(tiny_run: Run) -> None:
    config, store = tiny_run
    summary = store.run("tiny").read_json("evaluation/summary.json")
    for name in ("wins_over_dense", "clear_wins_over_dense", "wins_over_seed"):
        assert 0 <= int(str(summary[name])) <= 4
    assert summary["languages_compared"] == 4 and summary["k"] == 2 and summary["allocation"] == "typological"
    assert summary["tokens_total"] == config.training.budget_tokens
    table = summary["per_language"]
    assert isinstance(table, dict) and set(table) == {"de", "en", "hi", "ja"}
    for row in table.values():
        for cell in row.values():
            assert cell["low"] <= cell["perplexity"] <= cell["high"]
            assert cell["bits_per_byte"] > 0 and cell["exposure_tokens"] >= 0
    changes = [row["ensemble"]["perplexity"] / row["dense"]["perplexity"] - 1 for row in table.values()]
    assert float(str(summary["mean_relative_perplexity_change"])) == pytest.approx(sum(changes) / 4)
    assert summary["wins_over_dense"] == sum(change < 0 for change in changes)


def test_exposure_is_equal_for_dense_and_for_all_experts_together(tiny_run: Run) -> None:
    _, store = tiny_run
    table = store.run("tiny").read_json("evaluation/summary.json")["per_language"]
    assert isinstance(table, dict)
    for row in table.values():
        assert row["ensemble"]["exposure_tokens"] == pytest.approx(row["dense"]["exposure_tokens"], rel=0.1)


def test_perplexity_equals_the_library_model_scored_one_document_at_a_time(tiny_run: Run) -> None:
    """An independent scorer: transformers' own class and tokenizer, no batching, windows written out by hand."""
    config, store = tiny_run
    lineage = Lineage(config, store)
    stage = lineage.baselines[0].stage
    model = AutoModelForCausalLM.from_pretrained(stage.local("final")).eval()
    tokenizer = AutoTokenizer.from_pretrained(lineage.tokenizer.folder.local("tokenizer"))
    size, stride, most = 64, 32, config.evaluation.max_tokens_per_document
    total, count = 0.0, 0
    for document in list(read_documents(lineage.shards.folder, "hi", "validation"))[:12]:
        ids = [*tokenizer(document["text"], add_special_tokens=False)["input_ids"], tokenizer.eos_token_id][:most]
        scored = start = 0
        while scored < len(ids):
            window = [tokenizer.eos_token_id if start == 0 else ids[start - 1], *ids[start : start + size]]
            with torch.no_grad():
                log_probs = model(torch.tensor([window[:-1]])).logits[0].log_softmax(-1)
            for place in range(scored - start, len(window) - 1):
                total += float(log_probs[place, window[place + 1]])
                count += 1
            scored, start = start + len(window) - 1, start + stride
    table = store.run("tiny").read_json("evaluation/summary.json")["per_language"]
    assert isinstance(table, dict)
    assert table["hi"]["dense"]["perplexity"] == pytest.approx(math.exp(-total / count), rel=1e-5)


def test_a_second_run_makes_nothing_and_a_second_cut_shares_what_it_can(tiny_run: Run) -> None:
    config, store = tiny_run
    store_folder = Path(store.root) / "store"
    before = {path: path.stat().st_mtime_ns for path in store_folder.rglob("*") if path.is_file()}
    run_everything(config, store)
    assert {path: path.stat().st_mtime_ns for path in store_folder.rglob("*") if path.is_file()} == before
    models = len(list((store_folder / "model").iterdir()))
    other = _with(config, "allocation.strategy=tfidf", "run.name=tiny-tfidf")
    run_everything(other, store)
    assert len(list((store_folder / "shards").iterdir())) == len(list((store_folder / "tokens").iterdir())) == 1
    assert len(list((store_folder / "model").iterdir())) == models + 2  # seed and dense are shared
    summary = store.run("tiny-tfidf").read_json("evaluation/summary.json")
    assert summary["weighting"] == "posterior" and summary["languages_compared"] == 4


def test_the_page_stands_alone_and_shows_every_language(tiny_run: Run) -> None:
    _, store = tiny_run
    page = store.run("tiny").read("report/index.html").decode()
    for text in ("de", "en", "hi", "ja", "expert-00", "expert-01"):
        assert text in page
    assert "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page


def test_the_ensemble_names_experts_in_order_with_parent_digest_and_tokens(tiny_run: Run) -> None:
    _, store = tiny_run
    record = read_ensemble(store.run("tiny"), "")
    assert [expert.name for expert in record.experts] == ["expert-00", "expert-01"]
    assert set(record.models) == {"seed", "dense"} and record.version == 1
    for expert in record.experts:
        assert expert.parent == record.models["seed"] and expert.round == 0
        weights = store.stage("model", expert.model).local("final") / "model.safetensors"
        assert expert.weights_sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()
        assert expert.tokens_seen is not None and expert.tokens_seen > 0
