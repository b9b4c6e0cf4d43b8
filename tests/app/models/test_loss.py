from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from app.models.cache import KVCache
from app.models.causal import CausalLM
from app.models.loss import IGNORE, cross_entropy_sum, next_token_loss, token_log_probs
from tests.support.tiny_models import some_rows, tiny_model

N, D, V = 11, 6, 29


def case(ignored: tuple[int, ...] = ()) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    hidden = torch.randn(N, D, generator=generator).requires_grad_()
    head = torch.randn(V, D, generator=generator).requires_grad_()
    targets = torch.randint(0, V, (N,), generator=generator)
    targets[list(ignored)] = IGNORE
    return hidden, head, targets


class LargestTensor(TorchDispatchMode):
    """Remembers the most elements any operation returned."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)]
        self.elements = max([self.elements, *sizes])
        return out


@pytest.mark.parametrize("ignored", [(), (0,), (3, 4, 5, 10), tuple(range(N))])
@pytest.mark.parametrize("chunk", [1, 3, 4, N, 100])
def test_value_and_gradients_equal_plain_cross_entropy(chunk: int, ignored: tuple[int, ...]) -> None:
    hidden, head, targets = case(ignored)
    expected = F.cross_entropy(hidden @ head.T, targets, reduction="sum", ignore_index=IGNORE)
    wanted = torch.autograd.grad(2.5 * expected, (hidden, head))
    got = cross_entropy_sum(hidden, head, targets, chunk)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    for mine, theirs in zip(torch.autograd.grad(2.5 * got, (hidden, head)), wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


def test_ignored_tokens_add_nothing() -> None:
    hidden, head, targets = case(ignored=(2, 7))
    loss = cross_entropy_sum(hidden, head, targets, 4)
    kept = [i for i in range(N) if i not in (2, 7)]
    assert loss.item() == pytest.approx(cross_entropy_sum(hidden[kept], head, targets[kept], 4).item(), rel=1e-6)
    loss.backward()
    assert hidden.grad is not None and torch.count_nonzero(hidden.grad[[2, 7]]) == 0


def test_a_frozen_head_gets_no_gradient() -> None:
    hidden, head, targets = case()
    cross_entropy_sum(hidden, head.detach(), targets, 4).backward()
    assert head.grad is None and hidden.grad is not None


def test_large_logits_do_not_overflow() -> None:
    hidden, head, targets = case()
    scaled = 1e4 * head
    expected = F.cross_entropy(hidden @ scaled.T, targets, reduction="sum")
    torch.testing.assert_close(cross_entropy_sum(hidden, scaled, targets, 3), expected)


def test_bfloat16_is_close_to_float32_and_gradients_keep_the_weights_type() -> None:
    model, rows = tiny_model(), some_rows()
    exact = next_token_loss(model, rows, 5)
    exact.backward()
    wanted = [weight.grad.clone() for weight in model.parameters() if weight.grad is not None]
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        loss = next_token_loss(model, rows, 5)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=0.01)
    for weight, gradient in zip(model.parameters(), wanted, strict=True):
        assert weight.grad is not None and weight.grad.dtype == torch.float32
        assert float((weight.grad - gradient).norm()) <= 0.05 * float(gradient.norm()) + 1e-4


@pytest.mark.parametrize("gradients", [True, False])
def test_with_xglms_vocabulary_no_more_than_one_chunk_of_logits_exists(gradients: bool) -> None:
    vocabulary, width, chunk, tokens = 256_008, 4, 6, 20
    hidden = torch.randn(tokens, width)
    head = torch.randn(vocabulary, width)
    targets = torch.randint(0, vocabulary, (tokens,))
    expected = torch.stack(
        [F.cross_entropy(h @ head.T, t, reduction="none") for h, t in zip(hidden, targets, strict=True)]
    )
    with LargestTensor() as seen:
        if gradients:
            loss = cross_entropy_sum(hidden.requires_grad_(), head.requires_grad_(), targets, chunk)
            loss.backward()
        else:
            loss = -token_log_probs(Given(hidden, head), targets[None], targets[None], chunk).sum()
    assert chunk * vocabulary >= seen.elements >= width * vocabulary
    assert loss.item() == pytest.approx(expected.sum().item(), rel=1e-5)


class Given(CausalLM):
    """Hidden states and a head that are simply there."""

    def __init__(self, hidden: torch.Tensor, head: torch.Tensor) -> None:
        super().__init__()
        self._hidden, self._head = hidden, head

    def hidden(self, rows: torch.Tensor, *others: object, languages: Sequence[str] | None = None) -> torch.Tensor:
        self.languages = languages
        return self._hidden[None]

    def make_cache(self, slots: int, length: int) -> KVCache:
        raise NotImplementedError

    @property
    def head(self) -> torch.Tensor:
        return self._head

    @property
    def layers(self) -> list[torch.nn.Module]:
        return []

    def library_config(self) -> object:
        return None

    def save_weights(self, folder: Path) -> None:
        pass

    def use_activation_checkpointing(self) -> None:
        pass


@pytest.mark.parametrize("architecture", ["xglm", "llama"])
def test_the_loss_of_rows_is_the_mean_over_next_tokens(architecture: str) -> None:
    model, rows = tiny_model(architecture), some_rows()  # type: ignore[arg-type]
    logs = torch.log_softmax(model.logits(rows), dim=-1).tolist()
    picked = [logs[b][t][rows[b, t + 1]] for b in range(rows.shape[0]) for t in range(rows.shape[1] - 1)]
    assert next_token_loss(model, rows, 4).item() == pytest.approx(-sum(picked) / len(picked), rel=1e-5)


@pytest.mark.parametrize("chunk", [1, 4, 1000])
def test_log_probs_are_log_softmax_at_the_targets_and_zero_where_ignored(chunk: int) -> None:
    model, rows = tiny_model(), some_rows()
    targets = some_rows(seed=9)
    targets[0, :4] = IGNORE
    targets[2, -1] = IGNORE
    logs = torch.log_softmax(model.logits(rows), dim=-1)
    got = token_log_probs(model, rows, targets, chunk)
    assert got.shape == rows.shape and got.dtype == torch.float32 and not got.requires_grad
    for b in range(rows.shape[0]):
        for t in range(rows.shape[1]):
            wanted = 0.0 if targets[b, t] == IGNORE else logs[b, t, targets[b, t]].item()
            assert got[b, t].item() == pytest.approx(wanted, rel=1e-5, abs=1e-6)


def test_a_batch_without_targets_has_no_log_probs() -> None:
    rows = some_rows()
    got = token_log_probs(tiny_model(), rows, torch.full_like(rows, IGNORE), 4)
    assert torch.count_nonzero(got) == 0


def test_the_languages_of_rows_reach_the_model() -> None:
    model, rows = Given(torch.rand(4, 8, requires_grad=True), torch.rand(9, 8)), some_rows(1, 4, 9)
    next_token_loss(model, some_rows(1, 5, 9), 8, ["sw"])
    assert model.languages == ["sw"]
    token_log_probs(model, rows, rows, 8, ["tr"])
    assert model.languages == ["tr"]
