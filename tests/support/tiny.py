"""The smallest run that goes through every stage."""

from __future__ import annotations

TINY = (
    "run.name=tiny",
    "corpus.languages=de,en,hi,ja",
    "corpus.documents_per_language=60",
    "corpus.validation_documents_per_language=12",
    "seed.source=trained",
    "seed.vocabulary_size=512",
    "seed.width=32",
    "seed.layers=1",
    "seed.ffn_width=64",
    "seed.budget_tokens=60000",
    "allocation.k=2",
    "allocation.max_features=4096",
    "allocation.components=16",
    "training.budget_tokens=60000",
    "training.sequence_length=64",
    "training.tokens_per_step=1024",
    "training.checkpoint_every_steps=5",
    "evaluation.max_documents_per_language=12",
    "evaluation.max_tokens_per_document=150",
    "evaluation.bootstrap_samples=200",
)
