"""The bare products of the weights, expert by expert: what any other way of decoding has to be held against.

``floor`` is one side of ``benchmarks.serving``, called in a process of its own on one thread. Each pass is its matrix
products and nothing else: no attention, no norms, no softmax, no sampling. Products of a few rows for several experts
at once can take less (``StackedLM``), so for m of 2 and more it is no bound. Knows neither Ray nor pydantic.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from app.core.records import JsonObject
from app.models.causal import CausalLM
from benchmarks.measure import measured
from benchmarks.serving_sides import case_of, tasks


def matrices(model: CausalLM) -> list[torch.Tensor]:
    """The (out, in) weights that a pass multiplies with, the head included; a table of embeddings is looked up."""
    products = [module.weight for module in model.modules() if isinstance(module, torch.nn.Linear)]
    head = model.head
    return products if any(weight is head for weight in products) else [*products, head]


def passes(models: list[list[torch.Tensor]], tokens: int, count: int) -> None:
    """``count`` passes of each model over ``tokens`` tokens."""
    rows = {width: torch.ones(tokens, width) for weights in models for width in {weight.shape[1] for weight in weights}}
    for _ in range(count):
        for weights in models:
            for weight in weights:
                torch.nn.functional.linear(rows[weight.shape[1]], weight)


@torch.inference_mode()
def floor(case: dict[str, Any], prompts: list[list[int]]) -> JsonObject:
    """By task: tokens per CPU second of the products alone, with the head for a prompt's last token only."""
    made = case_of(case)
    models = [matrices(model) for model in made.experts()]
    bodies = [weights[:-1] for weights in models]
    prompt = len(prompts[0])

    def decode(m: int, batch: int) -> tuple[int, float]:
        with measured() as usage:
            for _ in range(batch):
                passes(bodies[:m], prompt, 1)
            passes([weights[-1:] for weights in models[:m]], batch, 1)
            passes(models[:m], batch, made.tokens - 1)
        return batch * made.tokens, usage.cpu_seconds

    def score() -> tuple[int, float]:
        length = min(made.context, int(np.sum([len(text) for text in prompts])))
        with measured() as usage:
            passes(models, length, 1)
        return length, usage.cpu_seconds

    return tasks(decode, score)
