from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from app.artifacts.store import Store
from app.config.schema import Config
from app.ensemble.routing import Alone
from app.lineage.inputs import seed_location
from app.lineage.lineage import Lineage
from app.models.load import load_model
from app.pipelines.sample import continuations, find_beginnings, languages_by_share, make_samples
from app.tokens.tokenizer import load_tokenizer
from tests.support.token_store import Texts, write_corpus

SEED = seed_location("builtin:demo")


def test_an_experts_languages_are_those_first_of_which_it_holds_most() -> None:
    shares = {"de": np.array([0.5, 0.5]), "en": np.array([0.9, 0.1]), "ja": np.array([0.0, 1.0])}
    assert languages_by_share(shares, ["a", "b"]) == {"a": ["en", "de"], "b": ["ja", "de", "en"]}


def corpus_of(folder: Path, texts: dict[str, list[str]]) -> object:
    tokenizer = load_tokenizer(SEED)
    ids: Texts = {
        lang: [[[*row.tolist(), tokenizer.end_id] for row in tokenizer.encode_batch(documents)]]
        for lang, documents in texts.items()
    }
    corpus = write_corpus(folder, ids, split="validation")
    corpus.start_id = corpus.end_id = tokenizer.end_id
    return corpus


def test_a_beginning_is_whole_characters_of_the_first_document_that_is_long_enough(tmp_path: Path) -> None:
    rare = "𒀀𒀁𒀂𒀃"  # four bytes, four tokens each
    corpus = corpus_of(tmp_path, {"de": ["kurz", rare, "zu spät, zu spät, zu spät"], "en": ["a"]})
    tokenizer = load_tokenizer(SEED)
    (found,) = find_beginnings(corpus, tokenizer, "de", "expert-00", 6, 5)  # type: ignore[arg-type]
    assert found.prompt == rare[:1] and found.held_out == rare[1:2]
    assert found.ids[0] == tokenizer.start_id and tokenizer.decode(found.ids) == found.prompt
    assert find_beginnings(corpus, tokenizer, "en", "expert-00", 6, 5) == []  # type: ignore[arg-type]


def test_several_beginnings_are_of_documents_that_are_long_enough_then_of_the_longest(tmp_path: Path) -> None:
    late = "zu spät, zu spät, zu spät"
    corpus = corpus_of(tmp_path, {"de": ["ein", late, "so lang", f"ja, {late}"]})
    found = find_beginnings(corpus, load_tokenizer(SEED), "de", "e", 4, 4, 3)  # type: ignore[arg-type]
    texts = [one.prompt + one.held_out for one in found]
    assert texts[0].startswith("zu spät") and texts[1].startswith("ja, zu") and texts[2] == "so lang"


def test_models_write_what_the_library_writes() -> None:
    """transformers' own class, greedy, one text at a time."""
    library, tokenizer = AutoModelForCausalLM.from_pretrained(SEED).eval(), AutoTokenizer.from_pretrained(SEED)
    start = tokenizer.eos_token_id
    prompts = [
        [start, *tokenizer(text, add_special_tokens=False)["input_ids"]] for text in ("12 January", "Montag, den")
    ]
    expected = []
    for prompt in prompts:
        with torch.no_grad():
            made = library.generate(torch.tensor([prompt]), max_new_tokens=8, do_sample=False)[0, len(prompt) :]
        expected.append(tokenizer.decode(made, skip_special_tokens=True))
    written = continuations([load_model(SEED).eval()], lambda _ids: Alone(), prompts, load_tokenizer(SEED), 8)
    assert [one["text"] for one in written] == expected and all(expected)


@pytest.mark.ray
def test_every_expert_dense_and_the_ensemble_go_on_from_the_same_beginnings(tiny_run: tuple[Config, Store]) -> None:
    lineage = Lineage(*tiny_run)
    stage = make_samples(lineage)["samples"]
    samples = json.loads(stage.read("samples.json"))["samples"]
    owned = {task.name: set(task.weights) for task in lineage.experts}
    assert [one["expert"] for one in samples] == [name for name in owned for _ in range(min(2, len(owned[name])))]
    assert all(one["lang"] in owned[one["expert"]] for one in samples)
    for one in samples:
        assert set(one["texts"]) == {one["expert"], "ensemble", "dense"} and one["prompt"] and one["held_out"]
    page = lineage.run.read("report/index.html").decode()
    assert page.count("<mark>") == 4 * len(samples)
