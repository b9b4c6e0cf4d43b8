"""Stacked models give what the single ones give."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from app.core.errors import ConfigError
from app.models.cache import pad_rows
from app.models.causal import CausalLM
from app.models.library import LibraryLM
from app.models.stacked import StackedLM, can_stack, stack_models
from tests.support.library_models import LENGTH, gpt2, llama_with_shared_heads, untied_llama_with_biases
from tests.support.tiny_models import some_rows, tiny_model

K = 5


def some_models(kind: str | Callable[[], torch.nn.Module]) -> list[CausalLM]:
    if isinstance(kind, str):
        return [tiny_model(kind, seed).eval() for seed in range(K)]  # type: ignore[arg-type]
    torch.manual_seed(5)
    return [LibraryLM(kind().eval()) for _ in range(K)]  # type: ignore[arg-type]


KINDS = ["xglm", "llama", llama_with_shared_heads, untied_llama_with_biases]
ALL = pytest.mark.parametrize("kind", KINDS)
CHOICES = pytest.mark.parametrize(
    "experts",
    [[0, 1, 2, 3, 4], [2], [3, 3, 3], [0, 2, 4], [0, 0, 1, 1, 4], [0, 0, 0, 3, 4, 4], [1, 1, 3, 3]],
    ids=str,
)


def close(got: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


@ALL
@CHOICES
def test_rows_are_read_by_their_own_experts(kind: str, experts: list[int]) -> None:
    models = some_models(kind)
    expected = deepcopy(models)
    stack, rows = stack_models(models), some_rows(len(experts), 7)
    hidden = stack.hidden(rows, experts)
    logits = stack.logits(hidden, experts)
    with torch.no_grad():
        for row, expert in enumerate(experts):
            close(hidden[row], expected[expert].hidden(rows[row : row + 1])[0])
            close(logits[row], expected[expert].logits(rows[row : row + 1])[0])


@ALL
def test_every_expert_goes_on_from_its_own_past_whatever_the_others_do(kind: str) -> None:
    models = some_models(kind)
    stack, texts = stack_models(models), [row[:n].tolist() for row, n in zip(some_rows(3, 12), (12, 9, 7), strict=True)]
    cache = stack.new_cache(4, LENGTH)
    slots = [3, 0, 2]
    done = {(expert, text): 0 for expert in range(K) for text in range(3)}
    passes = [  # (expert, text, tokens): prompts in pieces, a drafter alone, verifiers that catch up, leaving
        [(0, 0, 5), (1, 0, 5), (2, 0, 3)],
        [(0, 0, 1)],
        [(0, 0, 1), (0, 1, 4), (4, 2, 7)],
        [(1, 0, 3), (2, 0, 4), (2, 1, 9), (3, 1, 2)],
        [(0, 0, 1), (0, 1, 1), (1, 0, 1), (2, 0, 1), (3, 1, 1)],
    ]
    for work in passes:
        starts = [done[expert, text] for expert, text, _ in work]
        pieces = [texts[text][start : start + n] for (_, text, n), start in zip(work, starts, strict=True)]
        rows, positions = pad_rows(pieces, starts)
        experts = [expert for expert, _, _ in work]
        with torch.inference_mode():
            hidden = stack.hidden(rows, experts, positions, cache.pairs(experts, [slots[text] for _, text, _ in work]))
        for got, (expert, text, n), start in zip(hidden, work, starts, strict=True):
            with torch.no_grad():
                close(got[:n], models[expert].hidden(torch.tensor([texts[text]]))[0, start : start + n])
            done[expert, text] += n


@ALL
def test_drafts_are_taken_back_for_all_experts(kind: str) -> None:
    models = some_models(kind)
    stack, (text, other) = stack_models(models), some_rows(2, 9).tolist()
    cache, experts = stack.new_cache(2, LENGTH), list(range(K))
    with torch.inference_mode():
        for ids, start, slot in ((text[:5] + other[:4], 0, 1), (text[5:], 5, 1)):
            rows, positions = pad_rows([ids] * K, [start] * K)
            hidden = stack.hidden(rows, experts, positions, cache.pairs(experts, [slot] * K))
        for expert, model in enumerate(models):
            close(hidden[expert], model.hidden(torch.tensor([text]))[0, 5:])


@ALL
def test_the_models_stay_usable_and_their_weights_are_the_stack(kind: str) -> None:
    models, rows = some_models(kind), some_rows()
    with torch.no_grad():
        before = [model.logits(rows) for model in models]
        stack = stack_models(models)
        # Not bit for bit on every processor: weights that lie otherwise may be multiplied in another order.
        for model, old in zip(models, before, strict=True):
            close(model.logits(rows), old)
        models[2].head[:] = 0.0
    assert not stack.logits(stack.hidden(rows[:2], [1, 2]), [1, 2])[1].any()
    held = {weight.untyped_storage().data_ptr() for model in models for weight in model.parameters()}
    assert len(held) < len(list(models[0].parameters()))


class LargestCopy(TorchDispatchMode):
    """The most elements that one operation made anew."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = func(*args, **(kwargs or {}))
        given = {each.untyped_storage().data_ptr() for each in args if isinstance(each, torch.Tensor)}
        if isinstance(out, torch.Tensor) and out.untyped_storage().data_ptr() not in given:
            self.elements = max(self.elements, out.numel())
        return out


@pytest.mark.parametrize("kind", ["xglm", "llama"])
@pytest.mark.parametrize("experts", [[0, 1, 2, 3, 4], [1, 3], [0, 1, 4]], ids=str)
def test_a_decoding_step_copies_no_weights_and_no_cache(kind: str, experts: list[int]) -> None:
    stack = stack_models(some_models(kind))
    cache = stack.new_cache(3, LENGTH)
    positions = torch.full((len(experts), 1), LENGTH - 1)
    with LargestCopy() as seen:
        stack.hidden(some_rows(len(experts), 1), experts, positions, cache.pairs(experts, [2] * len(experts)))
    assert (
        0 < seen.elements <= len(experts) * 3 * 16
    )  # queries, keys and values of one token: less than a 16 x 24 weight
    assert LENGTH * 16 > 3 * 16


def test_the_bytes_of_a_step_are_those_of_all_weights_but_the_table_of_positions() -> None:
    models = some_models("xglm")
    weights = sum(weight.numel() for weight in models[0].parameters())
    assert stack_models(models).bytes_per_expert == weights * 4
    torch.manual_seed(0)
    untied = [LibraryLM(untied_llama_with_biases()) for _ in range(2)]
    weights = sum(weight.numel() for weight in untied[0].parameters()) - 37 * 16
    assert stack_models(untied).bytes_per_expert == weights * 4


def test_what_cannot_be_stacked_is_said() -> None:
    xglm, llama = some_models("xglm"), some_models("llama")
    assert can_stack(xglm) and can_stack(llama)
    for models, reason in (
        ([xglm[0], llama[0]], "XGLM and Llama have a stacked form"),
        (some_models(gpt2), "these are LibraryLM"),
        ([llama[0], some_models(llama_with_shared_heads)[0]], "settings differ"),
        ([xglm[0], deepcopy(xglm[1]).double()], "several types"),
    ):
        assert not can_stack(models)
        with pytest.raises(ConfigError, match=reason):
            stack_models(models)
    assert isinstance(stack_models(xglm[:1]), StackedLM)


def test_wrong_rows_are_refused() -> None:
    stack = stack_models(some_models("xglm"))
    for experts in ([1, 0], [0, K]):
        with pytest.raises(ValueError, match="ordered by expert, from 0 to 4"):
            stack.hidden(some_rows(2, 3), experts)
    with pytest.raises(ConfigError, match="13 tokens"):
        stack.new_cache(1, 13)
