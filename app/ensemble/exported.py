"""An exported ensemble, loaded and mixed: p(x_t | x_<t) = sum_e alpha_e p_e(x_t | x_<t).

This file lies as ``mixture.py`` beside the exported weights. It needs torch and transformers and nothing else, reads
only its folder, and is the plain form: every step reads the whole text again.

A text in a language that one expert owns is that expert's, where the language is told. Else the weights alpha follow
the text: s_t = lambda s_{t-1} + gamma log p(x_{t-1}), alpha_t proportional to prior * exp(s_t); experts of little
weight are left out until the text's length is a multiple of ``rescore_every``. The numbers stand in ``ensemble.json``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

# The product's own bound, written again: this file is shipped without the package.
_LEAST_LOG_PROB = -1e4


class Mixture:
    """The experts of a folder and their mixture. ``tokenizer`` puts the start token before a text by itself."""

    def __init__(self, folder: str = ".") -> None:
        place = Path(folder)
        record = json.loads((place / "ensemble.json").read_text(encoding="utf-8"))
        self.names: list[str] = [expert["name"] for expert in record["experts"]]
        self._mixing, self._owners, self._shares = record["mixing"], record["owners"], record["shares"]
        if self._mixing["name"] not in ("auto", "posterior", *(["one_hot"] if self._owners else [])):
            raise ValueError(f"this file does not know the weights {self._mixing['name']!r} that {place} asks for")
        self.tokenizer = AutoTokenizer.from_pretrained(place)
        self.experts = [AutoModelForCausalLM.from_pretrained(place / name).eval() for name in self.names]

    @torch.inference_mode()
    def log_probs(self, ids: Sequence[int], language: str | None = None) -> torch.Tensor:
        """(T, V) natural logs: row t is the distribution of the token after ids[: t + 1]. ids: start token first."""
        rows = torch.tensor([list(ids)])
        each = torch.stack([expert(input_ids=rows).logits[0].double().log_softmax(-1) for expert in self.experts])
        known = each[:, torch.arange(len(ids) - 1), rows[0, 1:]]
        return torch.logsumexp(each + self.weights(known.T, language).T.log()[:, :, None], dim=0)

    def weights(self, scores: torch.Tensor, language: str | None = None) -> torch.Tensor:
        """(T + 1, k) weights before each token and after the last. scores: (T, k), each expert's log-probabilities."""
        k, rule = len(self.names), self._mixing
        if language in self._owners and rule["name"] != "posterior":
            chosen = torch.zeros(k, dtype=torch.float64)
            chosen[self.names.index(self._owners[language])] = 1.0
            return chosen.expand(len(scores) + 1, k)
        prior = torch.tensor(self._shares.get(language) or [1.0 / k] * k, dtype=torch.float64)
        return posterior_weights(rule, prior, scores.double())

    def generate(self, text: str, tokens: int = 20, language: str | None = None) -> str:
        """The most probable continuation, token by token, until the end token or the end of the experts' context."""
        ids = list(self.tokenizer(text)["input_ids"])
        begin, room = len(ids), self.tokenizer.model_max_length
        while len(ids) < min(begin + tokens, room):
            token = int(self.log_probs(ids, language)[-1].argmax())
            if token == self.tokenizer.eos_token_id:
                break
            ids.append(token)
        return str(self.tokenizer.decode(ids[begin:], skip_special_tokens=True))


def posterior_weights(rule: Mapping[str, Any], prior: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """(T + 1, k) weights before each token and after the last.

    rule: ``mixing`` of ``ensemble.json``. prior: (k,) weights. scores: (T, k) log-probabilities of the tokens, float64.
    """
    base = prior.log()
    evidence, dropped = torch.zeros_like(prior), base.isneginf()
    rows = []
    for length in range(len(scores) + 1):
        if length:
            added = scores[length - 1].clamp(min=_LEAST_LOG_PROB)
            evidence = rule["forgetting"] * evidence + rule["power"] * added
        if rule["rescore_every"] and length % rule["rescore_every"] == 0:
            dropped = base.isneginf()
        alpha = (base + evidence).masked_fill(dropped, -torch.inf).softmax(-1)
        # The heaviest is never dropped, even where all weights are below the limit.
        dropped = dropped | (alpha < min(rule["drop_below"], float(alpha.max())))
        alpha = (base + evidence).masked_fill(dropped, -torch.inf).softmax(-1)
        rows.append(_largest(alpha, rule["top_m"]))
    return torch.stack(rows)


def _largest(alpha: torch.Tensor, m: int) -> torch.Tensor:
    if not m:
        return alpha
    kept = torch.zeros_like(alpha)
    # Stable: of equal experts the first is kept, as in the product.
    places = torch.sort(alpha, descending=True, stable=True).indices[:m]
    kept[places] = alpha[places]
    return kept / kept.sum()
