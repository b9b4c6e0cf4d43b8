"""The systems that are compared, computed from cached log-probabilities: no model runs here."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from app.core.records import FloatArray, IntArray
from app.ensemble.mixing import mix_log_probs
from app.ensemble.routing import document_weights
from app.ensemble.weights import WeightingSettings
from app.evaluation.scores import ScoredDocuments

ENSEMBLE, TOP1_LANGUAGE, TOP1_CONTEXT, POSTERIOR = "ensemble", "top1_language", "top1_context", "posterior"
MIXED = (TOP1_LANGUAGE, TOP1_CONTEXT, ENSEMBLE, POSTERIOR)


def mixed_systems(
    documents: ScoredDocuments,
    experts: FloatArray,
    distances: FloatArray,
    expert_of_language: Mapping[str, int],
    weighting: WeightingSettings,
) -> dict[str, FloatArray]:
    """Log-probability of each token under each way of using the experts, (tokens,) each.

    experts: (tokens, k) nats. distances: (tokens, k), row t from the text before token t. ``top1_language`` uses the
    expert of the document's language; ``top1_context`` the expert that the text so far points to: the nearest one,
    or the largest posterior where the allocation sees languages only; ``ensemble`` the configured weighting.
    """
    chosen = np.concatenate(
        [
            np.full(int(length), expert_of_language[lang], dtype=np.int64)
            for lang, length in zip(documents.langs, documents.length, strict=True)
        ]
    )

    def weights(settings: WeightingSettings) -> FloatArray:
        return document_weights(settings, distances, documents.length, experts)

    posterior = weights(WeightingSettings("posterior"))
    by_language_only = bool(np.isinf(distances).any())
    nearest = posterior.argmax(axis=1) if by_language_only else distances.argmin(axis=1)
    return {
        TOP1_LANGUAGE: _pick(experts, chosen),
        TOP1_CONTEXT: _pick(experts, nearest),
        ENSEMBLE: mix_log_probs(experts, weights(weighting)),
        POSTERIOR: mix_log_probs(experts, posterior),
    }


def _pick(experts: FloatArray, chosen: IntArray) -> FloatArray:
    return experts[np.arange(len(experts)), chosen]
