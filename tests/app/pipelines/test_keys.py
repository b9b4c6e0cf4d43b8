from __future__ import annotations

from app.config.load import load_config
from app.pipelines.keys import allocation_inputs, optimisation_fields, scores_inputs, seed_inputs, tokens_inputs


def test_resources_and_saving_do_not_change_a_model() -> None:
    plain = load_config("demo")
    moved = load_config(
        "demo", overrides=["training.cpus_per_expert=2", "training.keep_checkpoints=9", "training.max_failures=0"]
    )
    faster = load_config("demo", overrides=["training.learning_rate=0.1"])
    assert optimisation_fields(plain) == optimisation_fields(moved) != optimisation_fields(faster)


def test_a_language_level_allocation_does_not_depend_on_the_corpus() -> None:
    config = load_config("demo")
    assert allocation_inputs(config, ["de", "en"], None).key == allocation_inputs(config, ["en", "de"], None).key
    assert allocation_inputs(config, ["de", "en"], None).key != allocation_inputs(config, ["de", "en"], "s").key


def test_tokens_depend_on_shards_and_tokenizer_only() -> None:
    assert tokens_inputs("a", "b").key == tokens_inputs("a", "b").key != tokens_inputs("b", "a").key


def test_a_builtin_seed_is_known_by_its_files_not_its_place() -> None:
    fields = seed_inputs(load_config("demo"), "").fields
    assert isinstance(fields["files"], dict) and "model.safetensors" in fields["files"] and "model" not in fields


def test_scores_depend_on_the_protocol_but_not_on_the_ensemble() -> None:
    plain = load_config("demo")
    mixed = load_config("demo", overrides=["evaluation.temperature=1", "evaluation.top_m=2"])
    paper = load_config("demo", overrides=["evaluation.protocol=paper"])
    assert scores_inputs(plain, "t", "m").key == scores_inputs(mixed, "t", "m").key
    assert scores_inputs(plain, "t", "m").key != scores_inputs(paper, "t", "m").key
