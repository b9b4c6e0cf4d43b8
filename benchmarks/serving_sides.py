"""What ``benchmarks.serving`` measures: our engine, and a plain loop over the library's models with a KV cache.

Each function is one side, called in a process of its own on one thread; it returns tokens and CPU seconds by task.
Knows neither Ray nor pydantic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache, XGLMForCausalLM

from app.core.records import FloatArray, IntArray, JsonObject
from app.ensemble.engine import Engine
from app.ensemble.local_client import LocalClient
from app.ensemble.requests import Request, Weigher, Work
from app.ensemble.sampling import Sampling
from app.models.architecture import ModelShape
from app.models.causal import CausalLM
from app.models.load import load_model
from app.models.registry import build_model
from app.models.stacked import stack_models
from benchmarks.measure import measured

EXPERTS = 8
TOP = 5
_WARM_UP = 4


@dataclass(frozen=True)
class Set:
    """k experts of one shape, and what is asked of them. folder: trained weights, one below the other; else drawn."""

    name: str
    vocab_size: int
    d_model: int
    layers: int
    heads: int
    ffn: int
    context: int
    prompt: int
    tokens: int
    folders: tuple[str, ...] = ()

    def experts(self) -> list[CausalLM]:
        """The models, on the CPU."""
        if self.folders:
            return [load_model(folder).eval() for folder in self.folders]
        sizes = (self.vocab_size, self.d_model, self.layers, self.heads, self.ffn, self.context)
        return [build_model(ModelShape("xglm", *sizes), seed).eval() for seed in range(EXPERTS)]


class FixedWeights:
    """A weigher that costs nothing: what is measured is the engine."""

    needs_scores = False

    def __init__(self, weights: Sequence[float]) -> None:
        self._weights = np.array(weights, dtype=np.float64)
        self._none = np.zeros(len(weights), dtype=np.int64)

    def weights(self) -> FloatArray:
        """See Weigher."""
        return self._weights

    def running(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """See Weigher."""
        return self._weights > 0

    may_run = running

    def missed(self) -> IntArray:
        """See Weigher."""
        return self._none

    def catch_up(self, expert: int, log_probs: FloatArray) -> None:
        """See Weigher."""

    def observe(self, text: str, token: int, log_probs: FloatArray) -> None:
        """See Weigher."""


class NoText:
    """A decoder that shows nothing: text is measured elsewhere."""

    def step(self, token: int) -> str:
        """See Decoder."""
        return ""

    def flush(self) -> str:
        """See Decoder."""
        return ""


def ours(case: dict[str, Any], prompts: list[list[int]]) -> JsonObject:
    """The engine without speculation or dropping."""
    made = case_of(case)
    engine = Engine(LocalClient([stack_models(made.experts())], slots=16, length=made.context))
    texts = np.array(prompts)

    def decode(m: int, batch: int) -> tuple[int, float]:
        requests = [request(made, texts[i].tolist(), even(m), speculate=False) for i in range(batch)]
        return timed(engine, requests)[:2]

    def score() -> tuple[int, float]:
        text = texts.reshape(-1)[: made.context].tolist()
        asked = Request(
            text, range(EXPERTS), lambda _: FixedWeights(even(8)), NoText, Sampling(0), echo=True, logprobs=TOP
        )
        return len(text), timed(engine, [asked])[1]

    return tasks(decode, score)


def naive(case: dict[str, Any], prompts: list[list[int]]) -> JsonObject:
    """The library's models one after the other for each token, requests one by one; full softmax of every expert."""
    made = case_of(case)
    models = [library(model) for model in made.experts()]
    texts = np.array(prompts)

    def decode(m: int, batch: int) -> tuple[int, float]:
        with measured() as usage:
            for i in range(batch):
                naive_decode(models[:m], [1 / m] * m, texts[i].tolist(), made.tokens)
        return batch * made.tokens, usage.cpu_seconds

    def score() -> tuple[int, float]:
        text = texts.reshape(-1)[: made.context]
        with measured() as usage:
            naive_score(models, even(8), text.tolist())
        return len(text), usage.cpu_seconds

    return tasks(decode, score)


@torch.inference_mode()
def naive_decode(
    models: Sequence[XGLMForCausalLM], weights: Sequence[float], prompt: list[int], count: int
) -> IntArray:
    """Greedy tokens of the mixture."""
    caches = [DynamicCache(config=model.config) for model in models]
    device = models[0].device
    fed, made = torch.tensor([prompt], device=device), []
    for _ in range(count):
        mixed: torch.Tensor | None = None
        for model, cache, weight in zip(models, caches, weights, strict=True):
            logits = model(input_ids=fed, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[0, -1]
            part = weight * logits.softmax(-1)
            mixed = part if mixed is None else mixed + part
        assert mixed is not None
        made.append(int(mixed.argmax()))
        fed = torch.tensor([made[-1:]], device=device)
    return np.array(made)


@torch.inference_mode()
def naive_score(models: Sequence[XGLMForCausalLM], weights: Sequence[float], text: list[int]) -> torch.Tensor:
    """(T - 1,) log-probabilities of a text's tokens under the mixture, and the most probable of each place."""
    rows = torch.tensor([text])
    mixed: torch.Tensor | None = None
    for model, weight in zip(models, weights, strict=True):
        part = weight * model(input_ids=rows, use_cache=False).logits[0, :-1].softmax(-1)
        mixed = part if mixed is None else mixed + part
    assert mixed is not None
    log_probs = mixed.log()
    log_probs.topk(TOP)
    return log_probs.gather(1, rows[0, 1:, None])[:, 0]


def library(model: CausalLM) -> XGLMForCausalLM:
    """The library's XGLM with a model's weights."""
    made = XGLMForCausalLM(model.library_config())
    made.load_state_dict({**model.state_dict(), "lm_head.weight": model.head})
    return made.eval()


def request(
    case: Set, prompt: list[int], weights: Sequence[float], sampling: Sampling | None = None, **more: Any
) -> Request:
    """A text of the case's length; greedy unless told."""
    chosen = sampling or Sampling(case.tokens, temperature=0.0)
    weigher: Callable[[Sequence[int]], Weigher] = lambda _: FixedWeights(weights)  # noqa: E731
    return Request(prompt, range(len(weights)), weigher, NoText, chosen, **more)


def timed(engine: Engine, requests: Sequence[Request]) -> tuple[int, float, Work]:
    """Tokens made, CPU seconds, and the work of the first text, until all have ended."""
    work = Work()
    with measured() as usage:
        for each in requests:
            engine.submit(each)
        while engine.load.running or engine.load.waiting:
            for update in engine.step():
                work = update.work if update.request % len(requests) == 0 else work
    return sum(each.sampling.max_tokens for each in requests), usage.cpu_seconds, work


def even(m: int) -> list[float]:
    """Equal weights of the first m experts."""
    return [1 / m] * m + [0.0] * (EXPERTS - m)


def case_of(case: dict[str, Any]) -> Set:
    """A set from its fields, as they come through JSON."""
    return Set(**{**case, "folders": tuple(case["folders"])})


def tasks(decode: Callable[[int, int], tuple[int, float]], score: Callable[[], tuple[int, float]]) -> JsonObject:
    """Tokens per CPU second of each task, after a small one that warms up."""
    decode(2, 1)
    found: JsonObject = {}
    for name, m, batch in (("decode_m1", 1, 1), ("decode_m2", 2, 1), ("decode_m8", 8, 1), ("decode_batch16", 8, 16)):
        tokens, seconds = decode(m, batch)
        found[name] = tokens / seconds
    score()
    tokens, seconds = score()
    found["score_m8"] = tokens / seconds
    return found
