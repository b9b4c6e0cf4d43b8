"""Models over a cache give what they give for the whole text in one row."""

from __future__ import annotations

import pytest
import torch

from app.core.errors import ConfigError
from app.models.cache import KVCache, LayerShape, pad_rows
from app.models.causal import CausalLM
from app.models.loss import next_token_loss
from tests.support.library_models import (
    KEEPING_KEYS,
    KEEPING_TOKENS,
    LENGTH,
    gemma_with_both_kinds_of_layers,
    gpt2,
    made,
)
from tests.support.tiny_models import some_rows

ALL = pytest.mark.parametrize("kind", ["xglm", "llama", *KEEPING_KEYS, *KEEPING_TOKENS])


def fed(
    model: CausalLM, cache: KVCache, slots: list[int], texts: list[list[int]], cuts: list[list[int]]
) -> list[torch.Tensor]:
    """Hidden states of texts of different lengths, pass by pass; cuts: how many tokens of each text a pass holds."""
    done, found = [0] * len(texts), [[] for _ in texts]
    for counts in cuts:
        going = [row for row, n in enumerate(counts) if n]
        pieces = [texts[row][done[row] : done[row] + counts[row]] for row in going]
        rows, positions = pad_rows(pieces, [done[row] for row in going])
        with torch.inference_mode():
            hidden = model.hidden(rows, positions, cache.rows([slots[row] for row in going]))
        for place, row in enumerate(going):
            found[row].append(hidden[place, : counts[row]])
            done[row] += counts[row]
    return [torch.cat(pieces) for pieces in found]


def whole(model: CausalLM, text: list[int]) -> torch.Tensor:
    with torch.inference_mode():
        return model.hidden(torch.tensor([text]))[0]


def close(got: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


@ALL
@pytest.mark.parametrize("cuts", [[11], [1] * 11, [4, 1, 6], [10, 1], [1, 10]], ids=str)
def test_any_split_of_a_text_into_pieces_gives_the_uncached_hidden_states(kind: str, cuts: list[int]) -> None:
    model, text = made(kind), some_rows(1, 11)[0].tolist()
    got = fed(model, model.new_cache(1, LENGTH), [0], [text], [[n] for n in cuts])
    close(got[0], whole(model, text))


@ALL
@pytest.mark.parametrize("slots", [[0, 1, 2], [4, 2, 0], [1, 4, 3]], ids=str)
def test_texts_of_different_lengths_share_each_pass_and_join_and_leave(kind: str, slots: list[int]) -> None:
    model = made(kind)
    texts = [row[:n].tolist() for row, n in zip(some_rows(3, 12), (12, 5, 8), strict=True)]
    cuts = [[5, 2, 0], [1, 1, 0], [1, 1, 3], [1, 1, 1], [4, 0, 1], [0, 0, 3]]
    for row, got in enumerate(fed(model, model.new_cache(5, LENGTH), slots, texts, cuts)):
        close(got, whole(model, texts[row]))


@ALL
def test_tokens_are_taken_back_by_going_on_from_an_earlier_position(kind: str) -> None:
    model, (text, draft) = made(kind), some_rows(2, 9).tolist()
    cache = model.new_cache(2, LENGTH)
    fed(model, cache, [1], [[*text[:4], *draft]], [[4], [8]])
    with torch.inference_mode():
        rest = model.hidden(torch.tensor([text[4:7]]), torch.tensor([[4, 5, 6]]), cache.rows([1]))[0]
    close(rest, whole(model, text[:7])[4:])


@ALL
def test_a_slot_serves_the_next_text(kind: str) -> None:
    model, (first, second) = made(kind), some_rows(2, 10).tolist()
    cache = model.new_cache(3, LENGTH)
    fed(model, cache, [2], [first], [[10]])
    fed(model, cache, [2], [second[:6]], [[6]])
    with torch.inference_mode():
        rows, positions = pad_rows([second[6:]], [6])
        got = model.hidden(rows, positions, cache.rows([2]))
    close(got[0], whole(model, second)[6:])


@pytest.mark.parametrize("kind", ["xglm", "llama", gpt2, gemma_with_both_kinds_of_layers])
def test_positions_without_a_cache_move_the_tokens_and_stay_causal(kind: str) -> None:
    model, rows = made(kind), some_rows(2, 6)
    plain = torch.arange(6).expand(2, -1)
    close(model.hidden(rows, plain), model.hidden(rows))
    jumping = plain + torch.tensor([0, 0, 0, 4, 4, 4])
    got, other = model.hidden(rows, jumping), rows.clone()
    other[:, 4] = (other[:, 4] + 1) % 37
    close(model.hidden(other, jumping)[:, :4], got[:, :4])
    close(got[:, :3], model.hidden(rows)[:, :3])
    assert not torch.allclose(got[:, 3:], model.hidden(rows)[:, 3:], atol=1e-3)
    other = rows.clone()
    other[:, 2] = (other[:, 2] + 1) % 37  # before the jump, still seen behind it
    assert not torch.allclose(model.hidden(other, jumping)[:, 3], got[:, 3], atol=1e-4)


@pytest.mark.parametrize("kind", ["xglm", "llama"])
def test_a_pass_over_a_cache_leaves_training_as_it_was(kind: str) -> None:
    model, rows = made(kind), some_rows()
    next_token_loss(model, rows, 8).backward()
    before = [weight.grad.clone() for weight in model.parameters() if weight.grad is not None]
    model.zero_grad()
    fed(model, model.new_cache(1, LENGTH), [0], [rows[0].tolist()], [[9]])
    next_token_loss(model, rows, 8).backward()
    assert all(torch.equal(weight.grad, old) for weight, old in zip(model.parameters(), before, strict=True))


def test_the_languages_of_rows_change_nothing_in_a_plain_model() -> None:
    rows = some_rows(2)
    for kind in ("xglm", "llama"):
        model = made(kind)
        assert torch.equal(model.hidden(rows, languages=["de", "en"]), model.hidden(rows))


def test_a_cache_is_as_large_as_its_slots_and_no_larger_than_the_context() -> None:
    model = made("xglm")
    assert (
        model.new_cache(3, 7).nbytes == 3 * 7 * 2 * 2 * 16 * 4
    )  # slots, length, layers, keys and values, width, bytes
    with pytest.raises(ConfigError, match="13 tokens is longer than the model's context, 12"):
        model.new_cache(1, 13)


def test_wrong_passes_are_refused() -> None:
    cache = KVCache([LayerShape(1, 2, 2)], 2, 4, torch.float32, torch.device("cpu"))
    with pytest.raises(IndexError, match="0 to 1"):
        cache.rows([2])
    with pytest.raises(IndexError, match="must be different"):
        cache.rows([1, 1])
    with torch.no_grad():
        with pytest.raises(IndexError, match="0 to 3"):
            cache.rows([0]).begin(torch.tensor([[3, 4]]))
        with pytest.raises(ValueError, match="2 slots need positions"):
            cache.rows([0, 1]).begin(torch.tensor([[3]]))
        with pytest.raises(ValueError, match="needs the positions"):
            made("xglm").hidden(torch.tensor([[3]]), cache=cache.rows([0]))
    with pytest.raises(ValueError, match="carries no gradient"):
        cache.rows([0]).begin(torch.tensor([[3]]))


def test_a_short_row_is_padded_by_its_last_token() -> None:
    rows, positions = pad_rows([[5, 6, 7], [8]], [0, 4])
    assert rows.tolist() == [[5, 6, 7], [8, 8, 8]]
    assert positions.tolist() == [[0, 1, 2], [4, 4, 4]]
