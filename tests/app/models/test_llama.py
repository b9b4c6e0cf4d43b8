from __future__ import annotations

from dataclasses import replace

from app.models.llama import LLAMA, build_llama, llama_config
from tests.support.tiny_models import TINY


def test_the_head_is_tied_and_attention_is_sdpa() -> None:
    model = build_llama(llama_config(replace(TINY, architecture="llama")), 0)
    assert model.head is model.inner.get_input_embeddings().weight
    assert model.inner.config._attn_implementation == "sdpa"
    assert LLAMA.wrap(model.inner).head is model.head
