from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from app.core.seeding import generator
from app.corpora.almanac import read_words, write_page
from app.models.load import count_parameters, load_model
from app.models.loss import token_log_probs
from app.tokens.packing import framed
from app.tokens.tokenizer import load_tokenizer

ROOT = Path(__file__).parents[3]
SEED = ROOT / "app" / "models" / "demo_seed"
LANGUAGES = ("ar", "bg", "de", "el", "en", "es", "fr", "hi", "ja", "ko", "ru", "sw", "tr", "ur", "vi", "zh")


def pages(lang: str, count: int = 4) -> list[str]:
    words = read_words(lang)
    return [write_page(words, generator(0, "test", lang, number), True) for number in range(count)]


def test_the_shipped_seed_loads_and_is_small() -> None:
    assert sum(file.stat().st_size for file in SEED.iterdir()) <= 4_000_000
    model, tokenizer = load_model(str(SEED)), load_tokenizer(str(SEED))
    assert model.head.shape == (tokenizer.vocab_size, 64) == (2048, 64)
    assert count_parameters(model) < 300_000
    assert all(torch.isfinite(weight).all() for weight in model.parameters())


def test_start_end_and_padding_ids_agree_with_the_configuration() -> None:
    tokenizer, config = load_tokenizer(str(SEED)), json.loads((SEED / "config.json").read_text())
    assert (tokenizer.start_id, tokenizer.end_id, tokenizer.pad_id) == (
        config["bos_token_id"],
        config["eos_token_id"],
        config["pad_token_id"],
    )


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_language_is_spelt_and_read_back(lang: str) -> None:
    tokenizer = load_tokenizer(str(SEED))
    for text, ids in zip(pages(lang), tokenizer.encode_batch(pages(lang)), strict=True):
        assert tokenizer.decode(ids.tolist()) == text
        assert ids.max() < tokenizer.vocab_size and len(ids) < len(text.encode())


def test_pages_that_training_never_saw_cost_it_less_than_half_of_a_uniform_guess() -> None:
    model, tokenizer = load_model(str(SEED)).eval(), load_tokenizer(str(SEED))
    texts = [text for lang in LANGUAGES for text in pages(lang, 2)]
    streams = [framed(ids, tokenizer.start_id, tokenizer.end_id) for ids in tokenizer.encode_batch(texts)]
    stream = np.concatenate(streams)
    rows = torch.from_numpy(stream[: len(stream) // 128 * 128].reshape(-1, 128))
    logs = token_log_probs(model, rows[:, :-1], rows[:, 1:], 256)
    assert -float(logs.mean()) < 0.5 * math.log(2048)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(1200)
def test_its_recipe_reaches_its_quality(tmp_path: Path) -> None:
    options = ["--preset", "demo-seed", "--set", f"artifacts.root={tmp_path}"]
    for job in ("shard", "seed"):
        subprocess.run([sys.executable, "-m", f"jobs.{job}", *options], cwd=ROOT, env=dict(os.environ), check=True)
    (manifest,) = (tmp_path / "store" / "model").glob("*/manifest.json")
    counts = json.loads(manifest.read_text())["counts"]
    assert counts["steps"] == 2930
    assert counts["final_loss"] <= 2.3
