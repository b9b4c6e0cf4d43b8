"""The section `planning`: prices and rates, all of them examples that users replace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from app.config.fields import NonNegativeFloat, PositiveFloat, PositiveInt, Section
from app.core.suggest import unknown_value


class GpuConfig(Section):
    """One kind of GPU and its price."""

    peak_tflops: PositiveFloat
    """Published dense bf16 peak, 10^12 FLOPs per second."""
    memory_gb: PositiveFloat
    """Memory, 10^9 bytes."""
    on_demand: NonNegativeFloat
    """Price of one for an hour."""
    spot: NonNegativeFloat
    """Price of one for an hour, on a machine that may be taken away."""


_EXAMPLE_GPUS: Mapping[str, Mapping[str, float]] = {
    "A10G": {"peak_tflops": 70, "memory_gb": 24, "on_demand": 1.21, "spot": 0.55},
    "L40S": {"peak_tflops": 362, "memory_gb": 48, "on_demand": 2.24, "spot": 1.0},
    "A100": {"peak_tflops": 312, "memory_gb": 40, "on_demand": 2.74, "spot": 1.3},
    "H100": {"peak_tflops": 989, "memory_gb": 80, "on_demand": 6.88, "spot": 2.5},
}
"""Peaks: NVIDIA's data sheets. Prices: ``PlanningConfig.prices``; on demand those of g5.2xlarge, g6e.2xlarge, an eighth
of p4d.24xlarge, an eighth of p5.48xlarge.
"""


def _over_example_gpus(value: object) -> object:
    """What is given lies over the examples, figure by figure: ``gpus.L40S.spot=0.8`` changes one."""
    if not isinstance(value, Mapping):
        return value
    given = {name: {**_EXAMPLE_GPUS.get(name, {}), **row} for name, row in value.items() if isinstance(row, Mapping)}
    return {**_EXAMPLE_GPUS, **value, **given}


Gpus = Annotated[dict[str, GpuConfig], BeforeValidator(_over_example_gpus)]


class PlanningConfig(Section):
    """The assumptions of `jobs.plan`. All prices and rates are examples: put yours in their place."""

    gpu: str = "L40S"
    """Which of `gpus` trains."""
    # pydantic does not validate defaults by itself, and the examples come in by the validator.
    gpus: Gpus = Field(default={}, validate_default=True)
    """Each kind's `peak_tflops` (dense bf16), `memory_gb`, and price `on_demand` and `spot` for an hour."""
    prices: str = "examples: on demand AWS us-east-1 in 2025 (aws.amazon.com/ec2/pricing), spot rounded"
    """Whose prices these are and of when; printed beside them. Spot prices move: aws.amazon.com/ec2/spot/pricing."""
    currency: str = "USD"
    """Of all prices."""
    head_per_hour: NonNegativeFloat = 0.38
    """Price of the head node for an hour; the example is an m5.2xlarge."""
    storage_per_gb_month: NonNegativeFloat = 0.023
    """Price of 10^9 bytes in the bucket for a month; the example is S3 Standard (aws.amazon.com/s3/pricing)."""
    utilisation: Annotated[float, Field(gt=0, le=1)] = 0.4
    """Share of the GPU's peak that the model's own FLOPs reach; `python -m benchmarks.gpu_training` measures yours."""
    interruptions_per_hour: PositiveFloat = 0.1
    """How often a spot machine is taken away; the page of a run counts yours. Clouds publish ranges only."""
    restart_seconds: NonNegativeFloat = 300.0
    """From an interruption until the model trains on another machine, seconds; the page of a run shows yours."""
    simulate: bool = False
    """Draw interruptions and show the spread of time and money on spot GPUs too (`--simulate`).

    It needs `training.gpus_per_expert`.
    """
    draws: PositiveInt = 200
    """Fleets that are drawn for each figure of `simulate`."""
    copy_bytes_per_second: PositiveFloat = 2e9
    """Speed at which the state leaves the GPU before a save, while training waits; used until a run has measured it."""
    save_bytes_per_second: PositiveFloat = 2e8
    """Speed at which a checkpoint is written to the store; used until a run has measured it."""
    files: bool = False
    """List the corpus, on the Hub if it is there, and show what will be read of each language too (`--files`)."""
    text_per_byte: PositiveFloat = 2.4
    """Bytes of text per byte of a compressed file; in mC4's from 2.3 (Latin script) to 5.5 (three bytes a letter)."""
    text_bytes_per_token: PositiveFloat = 4.5
    """UTF-8 bytes of one token; the data card of a run shows yours."""

    @model_validator(mode="after")
    def _gpu_is_known(self) -> PlanningConfig:
        if self.gpu not in self.gpus:
            raise ValueError(f"{unknown_value('gpu', self.gpu, self.gpus)}; or give planning.gpus.{self.gpu}")
        return self
