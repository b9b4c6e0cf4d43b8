from __future__ import annotations

import pytest

from app.config.load import load_config
from app.config.training import BaselineConfig
from app.core.errors import ConfigError
from app.corpora.sources import open_corpus
from app.lineage.inputs import (
    allocation_inputs,
    optimisation_fields,
    probe_inputs,
    samples_inputs,
    scores_inputs,
    seed_location,
    shards_inputs,
    tokens_inputs,
    trained_seed_inputs,
)
from app.lineage.settings import corpus_settings, language_quality


def test_resources_and_saving_do_not_change_a_model() -> None:
    plain = load_config("demo")
    moved = load_config(
        "demo", overrides=["training.cpus_per_expert=2", "training.keep_checkpoints=9", "training.max_failures=0"]
    )
    shared = load_config("demo", overrides=["training.workers_per_expert=1,4", "training.parallelism=fsdp"])
    assert optimisation_fields(plain) == optimisation_fields(shared)
    faster = load_config("demo", overrides=["training.learning_rate=0.1"])
    assert optimisation_fields(plain) == optimisation_fields(moved) != optimisation_fields(faster)


def test_the_experts_rate_changes_neither_a_trained_seed_nor_a_probe_and_their_own_does() -> None:
    def keys(*overrides: str) -> tuple[str, str]:
        config = load_config("demo", overrides=["seed.source=trained", *overrides])
        seed = trained_seed_inputs(config, "tokens", {"de": 1.0}).key
        return seed, probe_inputs(config, "gradient", ["de"], {"tokens": "tokens", "seed": "seed"}).key

    plain = keys()
    assert keys("training.learning_rate=0.5") == plain
    assert keys("seed.learning_rate=0.5")[0] != plain[0] and keys("probes.learning_rate=0.5")[1] != plain[1]
    assert all(key not in plain for key in keys("training.beta2=0.5"))


def test_a_seed_with_steps_of_its_own_stays_while_those_of_the_experts_change() -> None:
    def key(*overrides: str) -> str:
        config = load_config("demo", overrides=["seed.source=trained", *overrides])
        return trained_seed_inputs(config, "tokens", {"de": 1.0}).key

    own = "seed.tokens_per_step=512"
    assert key(own) == key(own, "training.tokens_per_step=1024") == key("training.tokens_per_step=512")
    assert key(own) != key()


def test_a_language_level_allocation_does_not_depend_on_the_corpus() -> None:
    config = load_config("demo")
    assert allocation_inputs(config, ["de", "en"], {}).key == allocation_inputs(config, ["en", "de"], {}).key
    assert allocation_inputs(config, ["de"], {}).key != allocation_inputs(config, ["de"], {"shards": "s"}).key


def test_a_seed_in_a_home_folder_is_found_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    assert seed_location("~/seeds/mine") == "/somewhere/seeds/mine"
    assert seed_location("facebook/xglm-564M") == "facebook/xglm-564M"
    assert seed_location("./mine") == "./mine"


def test_tokens_depend_on_shards_and_tokenizer_only() -> None:
    assert tokens_inputs("a", "b").key == tokens_inputs("a", "b").key != tokens_inputs("b", "a").key


def test_a_dense_model_of_its_own_changes_its_steps_and_its_rate_alone() -> None:
    config = load_config("demo", overrides=["allocation.k=4"])
    plain = optimisation_fields(config)
    assert optimisation_fields(config, BaselineConfig()) == plain
    changed = optimisation_fields(config, BaselineConfig(equal_steps=True, learning_rate=0.5))
    assert changed == {**plain, "tokens_per_step": 4 * 4096, "learning_rate": 0.5}


def test_scores_depend_on_the_protocol_but_not_on_the_ensemble() -> None:
    plain = load_config("demo")
    mixed = load_config("demo", overrides=["evaluation.temperature=1", "evaluation.top_m=2"])
    paper = load_config("demo", overrides=["evaluation.protocol=paper"])
    assert scores_inputs(plain, "t", "m").key == scores_inputs(mixed, "t", "m").key
    assert scores_inputs(plain, "t", "m").key != scores_inputs(paper, "t", "m").key


def test_samples_depend_on_models_weights_and_length_and_not_on_the_bootstrap() -> None:
    def key(*overrides: str, dense: str = "d") -> str:
        return samples_inputs(load_config("demo", overrides=overrides), {"dense": dense}, "tokens", "allocation").key

    assert key() == key("evaluation.bootstrap_samples=7", "training.max_failures=9")
    changed = [key("evaluation.power=2"), key("evaluation.sample_tokens=7"), key("evaluation.sample_languages=1")]
    assert len({key(), key(dense="other"), *changed}) == 5


def _shards(*overrides: str) -> str:
    config = load_config("paper-k4", overrides=["corpus.enough_for_budget=false", *overrides])
    return shards_inputs(config, open_corpus(corpus_settings(config))).key


def test_steps_of_the_corpus_change_its_key_only_where_they_are_on() -> None:
    plain = _shards()
    assert plain == _shards("corpus.near_duplicate_threshold=0.9", "corpus.language_confidence=0.9")
    assert plain == _shards("corpus.columns.source=from", "corpus.near_duplicates=off")
    assert plain == _shards("corpus.quality_weights.de=0.5")  # the mixture is in the models' keys
    steps = ("near_duplicates=minhash", "language_identification=lingua", "quality_weights.source:OSCAR=0.5")
    keys = [_shards(f"corpus.{step}") for step in steps]
    assert len({plain, *keys}) == 4
    assert keys[0] != _shards("corpus.near_duplicates=minhash", "corpus.near_duplicate_threshold=0.9")
    assert keys[2] != _shards(f"corpus.{steps[2]}", "corpus.columns.source=from")


def test_what_decides_how_much_is_read_is_in_the_key_only_where_not_all_is_read() -> None:
    on, steps = "corpus.enough_for_budget=true", ("training.budget_tokens=4096000", "corpus.quality_weights.de=0.5")
    steps += ("corpus.mixture_max_epochs=2", "planning.text_bytes_per_token=9")
    assert {_shards(step) for step in steps} == {_shards()}
    keys = [_shards(on, *step) for step in ((), *((step,) for step in steps))]
    assert len({_shards(), *keys}) == 2 + len(steps)
    with pytest.raises(ConfigError, match=r"set corpus\.enough_for_budget=false"):
        _shards(on, "corpus.near_duplicates=minhash")


def test_the_pinned_revision_may_be_named_or_left_out() -> None:
    assert (
        _shards() == _shards("corpus.revision=1588ec454efa1a09f29cd18ddd04fe05fc8653a2") != _shards("corpus.revision=a")
    )


def test_quality_weights_are_of_languages_in_our_codes_or_of_sources() -> None:
    weights = ("corpus.quality_weights.iw=2", "corpus.quality_weights.source:mC4=0.5")
    config = load_config("paper-k4", overrides=weights)
    assert language_quality(config) == {"he": 2.0}
    assert corpus_settings(config).source_weights == {"mC4": 0.5}


@pytest.mark.parametrize(
    ("preset", "weight", "message"),
    [
        ("paper-k4", "source:mC4=2", "above 1; a source can only be thinned"),
        ("paper-k4", "de=0", "take de out of corpus.languages"),
        ("paper-k4", "de=-1", "greater than or equal to 0"),
        ("demo", "source:mC4=0.5", "the almanac has one"),
    ],
)
def test_weights_that_cannot_be_meant_are_refused(preset: str, weight: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(preset, overrides=[f"corpus.quality_weights.{weight}"])
