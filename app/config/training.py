"""The sections `training` and `baselines`: how experts and dense models are trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from app.config.fields import (
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Range,
    Section,
    Spelled,
)

Trackers = Annotated[tuple[Literal["tensorboard", "prometheus", "wandb", "mlflow"], ...], Spelled]
BaselineName = Annotated[str, Field(pattern=r"^dense[a-z0-9_]*$")]


class TrainingConfig(Section):
    """How experts and the dense baseline are trained."""

    budget_tokens: PositiveInt = 2_000_000
    """Training tokens of the dense model; the experts share the same number."""
    budget_split: Literal["equal", "by_mixture"] = "by_mixture"
    """How experts share the budget: equally, or by their part's share of the mixture."""
    sequence_length: PositiveInt = 128
    """Tokens per row."""
    tokens_per_step: PositiveInt = 4096
    """Tokens per optimizer step; a multiple of `sequence_length`."""
    micro_batch_rows: PositiveInt = 32
    """Rows per forward pass; the rest of a step is accumulated."""
    learning_rate: PositiveFloat = 1e-3
    """Peak learning rate."""
    schedule: Literal["constant", "linear", "cosine", "wsd"] = "linear"
    """Shape of the learning rate after warm-up."""
    warmup_fraction: Fraction = 0.0
    """Share of the steps spent warming up."""
    final_learning_rate_fraction: Fraction = 0.1
    """Learning rate at the end as a share of the peak."""
    weight_decay: NonNegativeFloat = 0.01
    """AdamW's decoupled weight decay (not on biases and norms)."""
    beta1: Fraction = 0.9
    """AdamW's first moment decay."""
    beta2: Fraction = 0.95
    """AdamW's second moment decay."""
    epsilon: PositiveFloat = 1e-8
    """AdamW's epsilon."""
    clip_norm: PositiveFloat = 1.0
    """Largest gradient norm."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the forward pass; `auto` is bf16 where the hardware is faster with it."""
    activation_checkpointing: bool = False
    """Recompute activations in the backward pass to save memory."""
    loss_chunk_tokens: PositiveInt = 512
    """Rows of the vocabulary projection computed at a time, tokens."""
    checkpoint_every_steps: PositiveInt = 100
    """Steps between checkpoints."""
    keep_checkpoints: PositiveInt = 2
    """Checkpoints kept per model."""
    cpus_per_expert: PositiveFloat = 1.0
    """CPU cores each worker of a training run asks for."""
    gpus_per_expert: NonNegativeFloat = 0.0
    """Share of a GPU each worker of a training run asks for, up to 1; `workers_per_expert` gives an expert more."""
    workers_per_expert: Range = (1, 1)
    """Workers that train one model together, least and most: `2`, or `1,4` for as many as are free and join later."""
    parallelism: Literal["data", "fsdp"] = "data"
    """Several workers: each holds the whole model (`data`), or its part of it (`fsdp`, for seeds larger than a GPU)."""
    max_failures: NonNegativeInt = 2
    """Times a failing training run is started again without having saved anything new; preemptions are not counted."""
    trackers: Trackers = ("tensorboard", "prometheus")
    """Where metrics go besides `metrics.jsonl`: `tensorboard`, `prometheus` (through Ray), `wandb`, `mlflow`."""

    @model_validator(mode="after")
    def _steps_are_whole_rows(self) -> TrainingConfig:
        if self.tokens_per_step % self.sequence_length:
            raise ValueError(
                f"tokens_per_step {self.tokens_per_step} is not a multiple of sequence_length {self.sequence_length}"
            )
        if self.gpus_per_expert > 1:
            raise ValueError(
                f"gpus_per_expert {self.gpus_per_expert:g} would leave GPUs idle: a worker computes on one; set it to 1"
                " and workers_per_expert to the number of GPUs"
            )
        least, most = self.workers_per_expert
        if least > most:
            raise ValueError(f"workers_per_expert {least},{most}: the least is above the most; exchange them")
        # A worker reads whole rows: one more than there are would have nothing to train on.
        if most > (rows := self.tokens_per_step // self.sequence_length):
            raise ValueError(
                f"workers_per_expert {most} is more than the {rows} rows of a step; raise tokens_per_step or take fewer"
            )
        return self


class BaselineConfig(Section):
    """A dense model to compare with: the rows and the budget of all experts together, optimised in its own way."""

    equal_steps: bool = False
    """As many optimizer steps as an expert takes, by steps of k times the tokens; else k times as many steps."""
    learning_rate: NonNegativeFloat = 0.0
    """Peak learning rate; 0 means that of `training`."""
