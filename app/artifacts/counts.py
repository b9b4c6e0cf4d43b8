"""What a finished stage says it holds: the ``counts`` of its manifest, typed, one record for each kind of stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class TokenizerCounts:
    """A tokenizer: its number of ids, and the digest of its files."""

    vocabulary_size: int
    digest: str


@dataclass(frozen=True)
class ModelCounts:
    """A model: name, weights, and what its training took; a copied or imported one has trained nothing.

    ``epochs``: how often training went through each language's documents. ``final_loss`` in nats per token;
    ``training_seconds`` are those of all attempts, as far as their metrics tell; ``attempt_seconds`` the last one's,
    ``saving_seconds`` the part of them that waited for its ``saves``, ``save_seconds`` the last save's; ``workers``
    those of the last attempt.
    """

    name: str
    parameters: int
    weights_sha256: str
    steps: int = 0
    tokens_seen: int = 0
    exposure_tokens: Mapping[str, int] = field(default_factory=dict)
    epochs: Mapping[str, float] = field(default_factory=dict)
    final_loss: float | None = None
    training_seconds: float = 0.0
    attempt_seconds: float = 0.0
    saving_seconds: float = 0.0
    saves: int = 0
    save_seconds: float | None = None
    device: str = "cpu"
    torch: str = ""
    workers: int = 1


@dataclass(frozen=True)
class ScoresCounts:
    """Scores of one model: what was scored, in how many blocks. ``last_tokens``: those of the last attempt alone, which
    the manifest's seconds are of.
    """

    tokens: int
    documents: int
    blocks: int
    last_tokens: int = 0


@dataclass(frozen=True)
class AllocationCounts:
    """A cut: names of the experts, and whether languages or documents are given to them.

    ``clusters``: languages of each expert of a language-level cut. Of a document-level one, language -> what each
    expert holds of it: ``documents``, ``tokens`` and ``digests`` (which documents); ``documents_per_expert`` are sums,
    ``max_over_mean`` the balance. ``owner_agreement``:
    language -> share of its held-out documents to which the expert that holds most of it is nearest, and the same after
    a document's first tokens; empty where no expert is nearer than another.
    """

    experts: tuple[str, ...]
    unit: str
    clusters: tuple[tuple[str, ...], ...] | None = None
    documents: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    tokens: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    digests: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    documents_per_expert: tuple[int, ...] = ()
    max_over_mean: float | None = None
    owner_agreement: Mapping[str, float] = field(default_factory=dict)
    owner_agreement_early: Mapping[str, float] = field(default_factory=dict)
