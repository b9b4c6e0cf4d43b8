"""All randomness comes from here: one run seed and a purpose give one stream."""

from __future__ import annotations

import hashlib

import numpy as np


def derive_seed(run_seed: int, *purpose: str | int) -> int:
    """A 63-bit seed that depends on the run seed and on every part of the purpose, in order."""
    # Types and separator keep 1 from "1" and ("ab", "c") from ("a", "bc"). A digest, since hash() of a text differs
    # from process to process.
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in (run_seed, *purpose))
    # Without the sign bit, so that it fits a signed 64-bit integer wherever it is passed on.
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(run_seed: int, *purpose: str | int) -> np.random.Generator:
    """An independent generator for one purpose, e.g. ``generator(seed, "blocks", lang, epoch)``."""
    return np.random.default_rng(derive_seed(run_seed, *purpose))
