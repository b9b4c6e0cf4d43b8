from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    BertLMHeadModel,
    BloomConfig,
    BloomForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTJConfig,
    GPTJForCausalLM,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    MptConfig,
    MptForCausalLM,
    PreTrainedModel,
    XGLMConfig,
)
from transformers.utils import logging

from app.core.errors import ConfigError
from app.models.library import LibraryLM
from app.models.load import count_parameters, load_model, require_vocabulary, save_model
from app.models.loss import next_token_loss
from app.models.xglm import XGLM
from tests.support.tiny_models import TINY, some_rows, tiny_model

Architecture = Literal["xglm", "llama"]
BOTH = pytest.mark.parametrize("architecture", ["xglm", "llama"])


@BOTH
def test_a_saved_model_loads_with_the_same_weights(architecture: Architecture, tmp_path: Path) -> None:
    model = tiny_model(architecture)
    save_model(model, tmp_path / "model", "# card\n")
    loaded = load_model(str(tmp_path / "model"))
    assert type(loaded) is type(model)
    weights = dict(loaded.named_parameters())
    for name, weight in model.named_parameters():
        assert torch.equal(weights.pop(name), weight), name
    assert not weights
    assert (tmp_path / "model" / "README.md").read_text() == "# card\n"


def test_loading_prints_no_bar_and_leaves_the_users_choice_of_bars(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    save_model(tiny_model("xglm"), tmp_path / "model", "# card\n")
    capfd.readouterr()
    load_model(str(tmp_path / "model"))
    assert capfd.readouterr().err == "" and logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        load_model(str(tmp_path / "model"))
        assert not logging.is_progress_bar_enabled()
    finally:
        logging.enable_progress_bar()


@BOTH
def test_the_library_loads_our_folder_and_gives_equal_logits(architecture: Architecture, tmp_path: Path) -> None:
    model, rows = tiny_model(architecture), some_rows()
    save_model(model, tmp_path, "")
    library = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(library(input_ids=rows).logits, model.logits(rows), rtol=1e-5, atol=1e-5)


@BOTH
def test_a_tied_head_is_stored_and_counted_once(architecture: Architecture, tmp_path: Path) -> None:
    model = tiny_model(architecture)
    save_model(model, tmp_path, "")
    stored = load_file(tmp_path / "model.safetensors")
    assert "lm_head.weight" not in stored
    shapes = [tensor.shape for tensor in stored.values()]
    assert shapes.count(torch.Size([TINY.vocab_size, TINY.d_model])) == 1
    assert sum(tensor.numel() for tensor in stored.values()) == count_parameters(model)


def test_the_parameters_of_a_small_xglm_counted_by_hand() -> None:
    attention, feed_forward, norms = 4 * (16 * 16 + 16), 16 * 24 + 24 + 24 * 16 + 16, 2 * 2 * 16
    assert count_parameters(tiny_model()) == 37 * 16 + 2 * (attention + feed_forward + norms) + 2 * 16


def test_an_xglm_folder_gets_our_attention_and_loses_its_dropout(tmp_path: Path) -> None:
    save_model(tiny_model(), tmp_path, "")
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "dropout": 0.1, "layerdrop": 0.5}))
    model = load_model(str(tmp_path)).train()
    rows = some_rows()
    assert isinstance(model, XGLM) and isinstance(model.library_config(), XGLMConfig)
    assert model.library_config().dropout == model.library_config().layerdrop == 0.0
    assert torch.equal(model.logits(rows), model.logits(rows))


def test_a_folder_saved_in_half_precision_loads_in_float32(tmp_path: Path) -> None:
    model = tiny_model("llama")
    assert isinstance(model, LibraryLM)
    model.inner.to(torch.bfloat16)
    save_model(model, tmp_path, "")
    assert {weight.dtype for weight in load_model(str(tmp_path)).parameters()} == {torch.float32}


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere.*not a folder"):
        load_model(str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    "content",
    ["nothing", "not json", "no weights", "unknown", pytest.param("no language model", marks=pytest.mark.slow)],
)
def test_a_folder_that_is_no_model_is_named(content: str, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    if content == "not json":
        (folder / "config.json").write_text("{")
    elif content == "no weights":
        save_model(tiny_model(), folder, "")
        (folder / "model.safetensors").unlink()
    elif content == "unknown":
        (folder / "config.json").write_text(json.dumps({"model_type": "nonsense"}))
    elif content == "no language model":
        (folder / "config.json").write_text(json.dumps({"model_type": "vit"}))
    with pytest.raises(ConfigError, match="other"):
        load_model(str(folder))


def test_pickled_weights_are_not_read(tmp_path: Path) -> None:
    model = tiny_model()
    save_model(model, tmp_path, "")
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ConfigError, match=str(tmp_path)):
        load_model(str(tmp_path))


def test_code_that_comes_with_a_model_is_not_run(tmp_path: Path) -> None:
    save_model(tiny_model(), tmp_path, "")
    config = json.loads((tmp_path / "config.json").read_text()) | {"model_type": "mine"}
    config["auto_map"] = {"AutoConfig": "mine.Config", "AutoModelForCausalLM": "mine.Model"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "mine.py").write_text(f"open({str(tmp_path / 'was_run')!r}, 'w').close()\n")
    with pytest.raises(ConfigError):
        load_model(str(tmp_path))
    assert not (tmp_path / "was_run").exists()


def gpt2() -> PreTrainedModel:
    return GPT2LMHeadModel(GPT2Config(vocab_size=37, n_embd=16, n_layer=1, n_head=2, n_positions=12))


def bert() -> PreTrainedModel:
    sizes = {"vocab_size": 37, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    return BertLMHeadModel(BertConfig(**sizes, intermediate_size=24, is_decoder=False))


def granite(scaling: float) -> PreTrainedModel:
    sizes = {"vocab_size": 37, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    ids = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 1}
    return GraniteForCausalLM(GraniteConfig(**sizes, **ids, intermediate_size=24, logits_scaling=scaling))


def test_dropout_is_off_whatever_the_architecture_calls_it(tmp_path: Path) -> None:
    gpt2().save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["resid_pdrop"] == 0.1
    model, rows = load_model(str(tmp_path)).train(), some_rows()
    assert torch.equal(model.logits(rows), model.logits(rows))


def test_an_encoder_is_not_a_causal_language_model(tmp_path: Path) -> None:
    bert().save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="not a causal language model: its tokens see later ones"):
        load_model(str(tmp_path))


def test_logits_that_are_more_than_a_matrix_product_are_refused(tmp_path: Path) -> None:
    granite(8.0).save_pretrained(tmp_path / "scaled")
    granite(1.0).save_pretrained(tmp_path / "plain")
    with pytest.raises(ConfigError, match=r"scaled.* scales, caps or biases its logits"):
        load_model(str(tmp_path / "scaled"))
    assert isinstance(load_model(str(tmp_path / "plain")), LibraryLM)


@BOTH
def test_a_folder_that_lacks_weights_is_refused_and_one_is_named(architecture: Architecture, tmp_path: Path) -> None:
    save_model(tiny_model(architecture), tmp_path, "")
    stored = load_file(tmp_path / "model.safetensors")
    gone = next(name for name in stored if "layers.1" in name and "q_proj" in name)
    save_file({k: v for k, v in stored.items() if k != gone}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ConfigError, match=rf"lacks 1 of its weights, {gone}"):
        load_model(str(tmp_path))


@BOTH
def test_weights_of_another_size_are_refused(architecture: Architecture, tmp_path: Path) -> None:
    save_model(tiny_model(architecture), tmp_path, "")
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "vocab_size": 38}))
    with pytest.raises(ConfigError, match=str(tmp_path)):
        load_model(str(tmp_path))


def test_torn_weights_are_refused(tmp_path: Path) -> None:
    save_model(tiny_model(), tmp_path, "")
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[:-100])
    with pytest.raises(ConfigError, match=str(tmp_path)):
        load_model(str(tmp_path))


def test_a_folder_that_brings_its_own_code_is_refused_without_asking(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "own", "auto_map": {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.LM"}})
    )
    (tmp_path / "code.py").write_text("raise SystemExit('executed')\n")
    with pytest.raises(ConfigError, match="cannot load"):
        load_model(str(tmp_path))


@BOTH
def test_loaded_weights_lie_in_aligned_memory_of_their_own(architecture: Architecture, tmp_path: Path) -> None:
    save_model(tiny_model(architecture), tmp_path, "")
    model = load_model(str(tmp_path))
    assert {weight.data_ptr() % 64 for weight in model.parameters()} == {0}
    assert all(weight.requires_grad for weight in model.parameters())
    assert model.context == TINY.context


def test_a_tokenizer_with_more_ids_than_the_model_is_refused() -> None:
    model = tiny_model()
    require_vocabulary(model, TINY.vocab_size, "seed")
    with pytest.raises(ConfigError, match="38 ids but model seed embeds only 37"):
        require_vocabulary(model, 38, "seed")


def edit_config(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def test_quantised_weights_are_refused_by_that_name(tmp_path: Path) -> None:
    for method in ("gptq", "awq", "bitsandbytes", "nonsense"):
        save_model(tiny_model("llama"), tmp_path / method, "")
        edit_config(tmp_path / method, quantization_config={"quant_method": method, "bits": 4})
        with pytest.raises(ConfigError, match=rf"{method}.*quantised weights"):
            load_model(str(tmp_path / method))


def test_a_model_that_also_reads_pictures_is_refused_by_that_name(tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**sizes, "vocab_size": 37, "num_key_value_heads": 2, "head_dim": 8, "model_type": "gemma3_text"}
    config = {"model_type": "gemma3", "architectures": ["Gemma3ForConditionalGeneration"], "text_config": text}
    (tmp_path / "config.json").write_text(json.dumps({**config, "vision_config": {**sizes, "image_size": 28}}))
    with pytest.raises(ConfigError, match=rf"{tmp_path}.* reads more than text"):
        load_model(str(tmp_path))


def test_whatever_the_library_raises_is_one_error_with_folder_and_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(tiny_model("llama"), tmp_path, "")
    for error in (ImportError("no such kernel"), KeyError("odd"), AttributeError("x"), TypeError("y"), IndexError()):
        monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", raising(error))
        with pytest.raises(ConfigError, match=rf"cannot load '{tmp_path}'.*({error}|{type(error).__name__})"):
            load_model(str(tmp_path))


def raising(error: Exception) -> Callable[..., object]:
    def anything(*_: object, **__: object) -> object:
        raise error

    return anything


def test_a_model_that_cannot_be_run_like_the_others_is_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(tiny_model("llama"), tmp_path, "")
    monkeypatch.setattr(LibraryLM, "hidden", raising(AttributeError("no last_hidden_state")))
    with pytest.raises(ConfigError, match=r"\(llama\) cannot be run as a causal language model: no last_hidden_state"):
        load_model(str(tmp_path))


@BOTH
def test_weights_that_the_configuration_has_no_place_for_are_named(architecture: Architecture, tmp_path: Path) -> None:
    save_model(tiny_model(architecture), tmp_path, "")
    edit_config(tmp_path, **{"num_layers" if architecture == "xglm" else "num_hidden_layers": 1})
    with pytest.raises(ConfigError, match=r"has \d+ weights that its config.json has no place for: model.layers.1"):
        load_model(str(tmp_path))


def test_tables_that_older_libraries_stored_are_no_weights(tmp_path: Path) -> None:
    save_model(tiny_model("llama"), tmp_path, "")
    stored = load_file(tmp_path / "model.safetensors")
    stored["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
    save_file(stored, tmp_path / "model.safetensors", {"format": "pt"})
    load_model(str(tmp_path))


def test_a_cap_on_the_logits_is_found_however_small_they_are(tmp_path: Path) -> None:
    sizes = {"vocab_size": 37, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "head_dim": 8}
    options = {"num_key_value_heads": 2, "intermediate_size": 24, "attn_logit_softcapping": None, "pad_token_id": 1}
    for cap, folder in ((30.0, tmp_path / "capped"), (None, tmp_path / "plain")):
        config = Gemma2Config(**sizes, **options, final_logit_softcapping=cap)
        Gemma2ForCausalLM(config).save_pretrained(folder)
    with pytest.raises(ConfigError, match=r"capped.* scales, caps or biases its logits"):
        load_model(str(tmp_path / "capped"))
    loaded, stored = load_model(str(tmp_path / "plain")), load_file(tmp_path / "plain" / "model.safetensors")
    assert torch.equal(loaded.head, stored["model.embed_tokens.weight"])  # the trial has put the weights back


def without_sdpa(kind: str) -> PreTrainedModel:
    ids = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 1}
    if kind == "bloom":
        return BloomForCausalLM(BloomConfig(vocab_size=37, hidden_size=16, n_layer=1, n_head=2, **ids))
    if kind == "gpt_neo":
        sizes = {"hidden_size": 16, "num_layers": 1, "num_heads": 2, "attention_types": [[["global"], 1]]}
        return GPTNeoForCausalLM(GPTNeoConfig(vocab_size=37, **sizes, max_position_embeddings=12, **ids))
    if kind == "mpt":
        return MptForCausalLM(MptConfig(vocab_size=37, d_model=16, n_layers=1, n_heads=2, max_seq_len=12, **ids))
    sizes = {"n_embd": 16, "n_layer": 1, "n_head": 2, "rotary_dim": 4, "n_positions": 12}
    return GPTJForCausalLM(GPTJConfig(vocab_size=37, **sizes, **ids, tie_word_embeddings=False))


@pytest.mark.parametrize("kind", ["bloom", "gpt_neo", "mpt"])
def test_architectures_without_sdpa_are_trained_with_eager_attention(kind: str, tmp_path: Path) -> None:
    inner = without_sdpa(kind).eval()
    inner.save_pretrained(tmp_path)
    model, rows = load_model(str(tmp_path)), some_rows()
    torch.testing.assert_close(model.logits(rows), inner(input_ids=rows).logits, rtol=1e-5, atol=1e-5)
    next_token_loss(model, rows, 8).backward()
    assert all(weight.grad is not None for weight in model.layers[0].parameters())


def test_a_head_with_a_bias_is_refused_even_where_it_is_zero(tmp_path: Path) -> None:
    without_sdpa("gptj").save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="biases its logits"):
        load_model(str(tmp_path))
