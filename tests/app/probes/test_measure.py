from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from app.models.causal import CausalLM
from app.probes.measure import deviation, layer_deviation, losses, mean_gradient, mean_representation, trained_copy
from tests.support.tiny_models import some_rows, tiny_model

ROWS = some_rows(rows=5, length=9).numpy()


@pytest.mark.parametrize("architecture", ["xglm", "llama"])
def test_deviation_is_the_change_of_feed_forward_matrices_of_the_last_layers_alone(architecture: str) -> None:
    before = tiny_model(architecture).eval()
    after = copy.deepcopy(before)
    matrices = [
        name
        for name, weight in after.named_parameters()
        if weight.dim() == 2 and "layers." in name and "attn" not in name and "embed" not in name
    ]
    with torch.no_grad():
        for name, weight in after.named_parameters():
            weight += 0.5 if name in matrices else 7.0
    found = deviation(before, after)
    assert len(found) == sum(dict(after.named_parameters())[name].numel() for name in matrices)
    assert found == pytest.approx(0.5, abs=1e-5)


def test_a_layers_deviation_is_the_norm_of_what_its_own_matrices_change() -> None:
    before = tiny_model("llama").eval()
    after = copy.deepcopy(before)
    with torch.no_grad():
        for number, layer in enumerate(after.layers):
            for name, weight in layer.named_parameters():
                weight += (number + 1.0) if "proj" in name and "attn" not in name else 7.0
    numbers = [sum(w.numel() for n, w in layer.named_parameters() if "mlp" in n) for layer in before.layers]
    expected = [(number + 1.0) * size**0.5 for number, size in enumerate(numbers)]
    assert layer_deviation(before, after) == pytest.approx(expected, rel=1e-5)


def test_the_mean_gradient_does_not_depend_on_how_many_rows_pass_at_once() -> None:
    model = tiny_model()
    whole = mean_gradient(model, ROWS, 512, at_once=5)
    parts = mean_gradient(model, ROWS, 512, at_once=2)
    assert parts == pytest.approx(whole, abs=1e-6) and np.abs(whole).max() > 0
    assert all(weight.grad is None or not weight.grad.any() for weight in model.parameters())


def test_losses_do_not_depend_on_how_many_rows_pass_at_once() -> None:
    model = tiny_model().eval()
    whole, parts = (losses(model, {"x": ROWS}, 512, at_once)["x"] for at_once in (5, 2))
    assert parts == pytest.approx(whole, abs=1e-6) and whole > 0


def test_the_gradient_is_the_slope_of_the_loss() -> None:
    model = tiny_model().double()
    direction = mean_gradient(model, ROWS, 512, at_once=5).astype(np.float64)
    weights = [weight for layer in model.layers for weight in layer.parameters() if weight.requires_grad]

    def moved(step: float) -> float:
        other = copy.deepcopy(model)
        place = 0
        with torch.no_grad():
            for weight in (w for layer in other.layers for w in layer.parameters() if w.requires_grad):
                part = direction[place : place + weight.numel()].reshape(weight.shape)
                weight += step * torch.from_numpy(part)
                place += weight.numel()
        return losses(other, {"x": ROWS}, 512, 5)["x"]

    assert sum(weight.numel() for weight in weights) == len(direction)
    slope = (moved(0.2) - moved(-0.2)) / 0.4  # wide, as the loss has seven digits
    assert slope == pytest.approx(float(direction @ direction), rel=1e-2)


def test_a_representation_is_the_mean_hidden_state_of_the_tokens_that_are_read() -> None:
    model = tiny_model().eval()
    with torch.no_grad():
        expected = model.hidden(torch.from_numpy(ROWS[:, :-1])).double().mean(dim=(0, 1)).numpy()
    assert mean_representation(model, ROWS, at_once=2) == pytest.approx(expected, abs=1e-6)


def test_a_copy_is_trained_and_the_model_stays() -> None:
    model = tiny_model().eval()
    before = {name: weight.clone() for name, weight in model.named_parameters()}

    def double(other: CausalLM) -> None:
        with torch.no_grad():
            for weight in other.parameters():
                weight *= 2

    after = dict(trained_copy(model, double).named_parameters())
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())
    assert all(torch.equal(after[name], 2 * weight) for name, weight in before.items())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_figures_are_those_of_the_cpu() -> None:
    model, other = tiny_model().eval(), tiny_model(seed=4).eval()
    here = [
        mean_gradient(model, ROWS, 512, 2),
        mean_representation(model, ROWS, 2),
        deviation(model, other),
        np.array([losses(model, {"x": ROWS}, 512, 5)["x"]]),
    ]
    model, other = model.cuda(), other.cuda()
    there = [
        mean_gradient(model, ROWS, 512, 2),
        mean_representation(model, ROWS, 2),
        deviation(model, other),
        np.array([losses(model, {"x": ROWS}, 512, 5)["x"]]),
    ]
    for one, same in zip(here, there, strict=True):
        assert same == pytest.approx(one, abs=1e-4)
