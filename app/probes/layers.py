"""Which layers a mixture inside one model would split into experts, by how much languages change them.

Source: DMoE, arXiv 2506.12388. X-ELM splits whole models: this is a finding about the seed, no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.core.records import FloatArray

LEAST_SCALED = 0.6
"""Layers of at least this scaled deviation are split."""


@dataclass(frozen=True)
class LayerChoice:
    """mean: (L,) deviation of each layer over the languages; scaled: (L,) in [0, 1]; chosen: layers from 0 whose
    scaled deviation is at least ``least``.
    """

    mean: FloatArray
    scaled: FloatArray
    least: float
    chosen: tuple[int, ...]


def choose_layers(deviations: Sequence[FloatArray], least: float = LEAST_SCALED) -> LayerChoice:
    """The layers whose mean deviation, scaled so that the smallest is 0 and the largest 1, is at least ``least``.

    deviations: (L,) of each language. Where all layers change alike, none is less than another: all are chosen.
    """
    mean: FloatArray = np.mean(np.stack(deviations), axis=0, dtype=np.float64)
    low, high = float(mean.min()), float(mean.max())
    scaled: FloatArray = (mean - low) / (high - low) if high > low else np.ones(len(mean))
    return LayerChoice(mean, scaled, least, tuple(np.flatnonzero(scaled >= least).tolist()))
