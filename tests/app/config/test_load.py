from __future__ import annotations

from pathlib import Path

import pytest

from app.config.load import load_config, preset_names, resolved
from app.core.errors import ConfigError


def test_presets_named_in_the_documentation_exist_and_load() -> None:
    assert {"demo", "small", "paper-k4", "paper-k8", "paper-k16"} <= set(preset_names())
    for name in preset_names():
        assert load_config(name).run.name == name


def test_order_is_preset_then_file_then_set(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("allocation: {k: 8, strategy: tfidf}\n")
    config = load_config("demo", str(file), ["allocation.k=2"])
    assert (config.allocation.k, config.allocation.strategy) == (2, "tfidf")
    assert config.corpus.source == "almanac"


def test_lists_may_be_comma_separated_and_no_is_norwegian() -> None:
    assert load_config("demo", overrides=["corpus.languages=de,no"]).corpus.languages == ("de", "no")
    assert load_config("demo", overrides=["corpus.languages=no"]).corpus.languages == ("no",)


@pytest.mark.parametrize("typed", ["2024", "010", "1e5", "1.50"])
def test_a_name_of_digits_stays_what_was_typed(typed: str) -> None:
    config = load_config("demo", overrides=[f"run.name={typed}", f"seed.revision={typed}", "allocation.k=2"])
    assert (config.run.name, config.seed.revision, config.allocation.k) == (typed, typed, 2)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("allocation.strateg=x", ["allocation.strateg", "did you mean 'allocation.strategy'"]),
        ("alocation.k=3", ["alocation", "did you mean 'allocation'"]),
        ("allocation.k=-1", ["allocation.k = -1", "greater than or equal to 0"]),
        ("training.tokens_per_step=100", ["tokens_per_step 100", "sequence_length 128"]),
        ("seed.tokens_per_step=100", ["seed.tokens_per_step 100", "sequence_length 128"]),
        ("training.schedule=fast", ["training.schedule = 'fast'", "'cosine'"]),
        ("allocation.k", ["section.key=value"]),
        ("run=5", ["run"]),
    ],
)
def test_a_bad_override_is_refused_naming_key_value_and_cure(override: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        load_config("demo", overrides=[override])
    for word in words:
        assert word in str(error.value)


def test_an_unknown_preset_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'paper-k8'"):
        load_config("paper-k9x")


def test_a_missing_or_broken_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        load_config("demo", str(tmp_path / "none.yaml"))
    (tmp_path / "bad.yaml").write_text("a: [1")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_config("demo", str(tmp_path / "bad.yaml"))


def test_null_takes_a_named_table_out_and_nothing_else() -> None:
    assert set(load_config("experiment").baselines) == {"dense", "dense_equal_steps", "dense_double_rate"}
    fewer = load_config("experiment", overrides=["baselines.dense_double_rate=null"])
    assert set(fewer.baselines) == {"dense", "dense_equal_steps"}
    with pytest.raises(ConfigError, match=r"training\.budget_tokens"):
        load_config("experiment", overrides=["training.budget_tokens=null"])


def test_a_resolved_config_loads_back_to_itself(tmp_path: Path) -> None:
    import yaml

    config = load_config("paper-k8")
    file = tmp_path / "resolved.yaml"
    file.write_text(yaml.safe_dump(resolved(config)))
    assert load_config(None, str(file)) == config


def test_equal_total_budget_in_every_paper_preset() -> None:
    budgets = {load_config(f"paper-k{k}").training.budget_tokens for k in (4, 8, 16)}
    assert len(budgets) == 1


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("artifacts.root=s3://KEY:hidden@bucket/x", "artifacts.root"),
        ("corpus.path=https://h/x.jsonl?X-Amz-Signature=hidden", "corpus.path"),
        ("imported.experts=de=ftp://me:hidden@host/x", "imported.experts"),
    ],
)
def test_a_secret_is_refused_and_not_repeated(override: str, key: str) -> None:
    with pytest.raises(ConfigError, match="holds a secret") as caught:
        load_config("demo", overrides=[override])
    assert key in str(caught.value) and "environment" in str(caught.value) and "hidden" not in str(caught.value)
