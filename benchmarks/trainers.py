"""Our training loop and the Trainer of transformers on the same model, rows, batch and optimizer.

Rows are one token longer than ``sequence_length``: both sides predict that many, and the library runs the model over
the last token too, which predicts nothing. Knows neither Ray nor pydantic, so that both can be measured on a bare GPU
machine.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import XGLMForCausalLM

from app.core.records import IntArray
from app.models.architecture import ModelShape
from app.models.causal import CausalLM
from app.models.registry import build_model
from app.training.loop import TrainingSpec, train
from app.training.saving import NoCheckpoints

LEARNING_RATE, WEIGHT_DECAY, BETAS, EPSILON, CLIP_NORM = 1e-3, 0.01, (0.9, 0.95), 1e-8, 1.0


@dataclass(frozen=True)
class Case:
    """A model and how it is fed: every optimizer step is one pass over ``rows_per_step`` rows."""

    name: str
    vocab_size: int
    d_model: int
    layers: int
    heads: int
    ffn: int
    sequence_length: int
    rows_per_step: int
    steps: int
    precision: str = "fp32"
    activation_checkpointing: bool = False

    @property
    def tokens_per_step(self) -> int:
        """Tokens of one optimizer step."""
        return self.rows_per_step * self.sequence_length

    def shape(self) -> ModelShape:
        """The model's sizes."""
        sizes = (self.vocab_size, self.d_model, self.layers, self.heads, self.ffn)
        return ModelShape("xglm", *sizes, context=self.sequence_length + 1)  # the library's Trainer runs over all


class ArrayRows:
    """Rows of an array by number; past its end it starts again."""

    def __init__(self, array: IntArray) -> None:
        self._array = array

    def rows(self, start: int, stop: int) -> IntArray:
        """See ``app.training.loop.Rows``."""
        return self._array[np.arange(start, stop) % len(self._array)]

    def languages(self, start: int, stop: int) -> list[str]:
        """See ``app.training.loop.Rows``; the models here have no use for it."""
        return [""] * (stop - start)


def our_model(case: Case) -> CausalLM:
    """Our XGLM, freshly drawn."""
    return build_model(case.shape(), seed=0)


def library_model(case: Case) -> XGLMForCausalLM:
    """The library's XGLM with the same weights; it has eager attention only."""
    ours = build_model(case.shape(), seed=0)
    library = XGLMForCausalLM(ours.library_config())
    library.load_state_dict({**ours.state_dict(), "lm_head.weight": ours.head})
    return library


def train_ours(case: Case, model: CausalLM, rows: IntArray, steps: int, device: str) -> float:
    """Train in place for some steps at a constant rate; the last step's loss in nats per token."""
    spec = TrainingSpec(
        key=case.name,
        run_seed=0,
        budget_tokens=steps * case.tokens_per_step,
        sequence_length=case.sequence_length,
        tokens_per_step=case.tokens_per_step,
        micro_batch_rows=case.rows_per_step,
        learning_rate=LEARNING_RATE,
        schedule="constant",
        warmup_fraction=0.0,
        final_learning_rate_fraction=1.0,
        weight_decay=WEIGHT_DECAY,
        beta1=BETAS[0],
        beta2=BETAS[1],
        epsilon=EPSILON,
        clip_norm=CLIP_NORM,
        precision="bf16" if case.precision == "bf16" else "fp32",
        activation_checkpointing=case.activation_checkpointing,
        loss_chunk_tokens=512 if device == "cpu" else 2048,
        checkpoint_every_steps=steps,
        device=device,
    )
    return train(spec, model, ArrayRows(rows), NoCheckpoints()).final_loss


def train_with_trainer(case: Case, model: XGLMForCausalLM, rows: IntArray, steps: int, device: str) -> float:
    """The same with the library's Trainer and its fused AdamW; the last step's loss in nats per token."""
    from transformers import Trainer, TrainingArguments  # imported late: our side must not hold its memory

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=case.rows_per_step,
            max_steps=steps,
            learning_rate=LEARNING_RATE,
            lr_scheduler_type="constant",
            optim="adamw_torch_fused",
            weight_decay=WEIGHT_DECAY,
            adam_beta1=BETAS[0],
            adam_beta2=BETAS[1],
            adam_epsilon=EPSILON,
            max_grad_norm=CLIP_NORM,
            bf16=case.precision == "bf16",
            activation_checkpointing=case.activation_checkpointing,
            train_sampling_strategy="sequential",
            logging_strategy="steps",
            logging_steps=1 if steps < 50 else 10,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=device == "cpu",
        )
        trainer = Trainer(model=model, args=arguments, train_dataset=_Items(rows))
        trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return float(losses[-1])


class _Items(Dataset[dict[str, torch.Tensor]]):
    def __init__(self, rows: IntArray) -> None:
        self._rows = torch.from_numpy(rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self._rows[index], "labels": self._rows[index]}
