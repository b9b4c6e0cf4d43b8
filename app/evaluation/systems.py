"""The systems that are compared: each a record of how it is made and whether it is told a document's language.

All are computed from the log-probabilities kept of each model: no model runs here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from app.core.records import FloatArray, IntArray
from app.ensemble.mixing import mix_log_probs
from app.ensemble.routing import document_weights, resolve_weighting
from app.ensemble.rules import WeightingSettings, rule_of
from app.evaluation.scores import ScoredDocuments

SEED, DENSE = "seed", "dense"
ENSEMBLE, ENSEMBLE_TOLD = "ensemble", "ensemble_told"
TOP1_LANGUAGE, TOP1_CONTEXT = "top1_language", "top1_context"
_OTHER_RULES = ("posterior", "tfidf")

Kind = Literal["model", "top1_language", "top1_context", "mixture"]


@dataclass(frozen=True)
class System:
    """One row of a result table.

    kind: one ``model`` alone; the expert of the document's language; the one expert that the text so far points to; a
    ``mixture`` of all with weights by ``weighting``. told: whether it is told the language of each document.
    starts_from_shares: whether its weights start from the experts' shares of that language.
    """

    name: str
    kind: Kind
    told: bool
    weighting: WeightingSettings | None = None
    starts_from_shares: bool = False

    @property
    def uses_experts(self) -> bool:
        """Whether it is a way of using all experts."""
        return self.kind != "model"


@dataclass(frozen=True)
class ExpertEvidence:
    """What the ways of using the experts are computed from.

    scores: (tokens, k) nats. distances: (tokens, k), row t from the text before token t; for an allocation of whole
    languages those of the language that is told. shares: language -> (k,) share of its training tokens that each expert
    holds. unit: what the allocation gives to experts, ``language`` or ``document``.
    """

    scores: FloatArray
    distances: FloatArray
    shares: Mapping[str, FloatArray]
    unit: str

    def home(self, lang: str) -> int:
        """The expert that holds most of a language's training tokens, the first of equals."""
        return home_of(self.shares[lang])


def home_of(shares: FloatArray) -> int:
    """The expert that holds most, the first of equals. shares: (k,)."""
    return int(np.argmax(shares))


@dataclass(frozen=True)
class Used:
    """A system's log-probability of each token, (tokens,) nats, and what all of them cost.

    running: experts that must run, added up over tokens. passes: the same with those in which dropped experts catch up.
    """

    log_probs: FloatArray
    running: int
    passes: int


def used_alone(log_probs: FloatArray) -> Used:
    """One model for each token."""
    return Used(log_probs, len(log_probs), len(log_probs))


def compared_systems(
    models: Sequence[str], weighting: WeightingSettings, unit: str, prior: Literal["language", "uniform"]
) -> tuple[System, ...]:
    """Each model alone, then the ways of using the experts.

    ``ensemble`` is not told a document's language; ``ensemble_told``, where it would differ, is. weighting: as
    configured, perhaps ``auto``. The running posterior and the published rule by distances, where the ensemble does not
    use them and they need no language, stand beside it under their names.
    """
    told, untold = (replace(weighting, name=resolve_weighting(weighting.name, unit, flag)) for flag in (True, False))
    by_language = unit == "language" and rule_of(told).needs.distances
    by_shares = prior == "language" and rule_of(told).uses_prior
    # Rules that come out of resolving as they are, and so need no language, and that the ensemble does not use itself.
    others = [name for name in _OTHER_RULES if name == resolve_weighting(name, unit, False) != untold.name]
    return (
        *(System(name, "model", told=False) for name in models),
        System(TOP1_LANGUAGE, "top1_language", told=True),
        System(TOP1_CONTEXT, "top1_context", told=False, weighting=replace(weighting, name="posterior")),
        *((System(ENSEMBLE_TOLD, "mixture", True, told, by_shares),) if by_shares or by_language else ()),
        System(ENSEMBLE, "mixture", told=False, weighting=untold),
        *(System(name, "mixture", told=False, weighting=replace(weighting, name=name)) for name in others),
    )


def use_experts(system: System, documents: ScoredDocuments, evidence: ExpertEvidence) -> Used:
    """Compute a way of using the experts."""
    scores = evidence.scores
    if system.kind == "top1_language":
        homes = np.array([evidence.home(lang) for lang in documents.langs], dtype=np.int64)
        return used_alone(_pick(scores, np.repeat(homes, documents.length)))
    assert system.weighting is not None
    # Where languages are cut, distances need the language told, which this system is not: the posterior decides.
    if system.kind == "top1_context" and evidence.unit == "document":
        return used_alone(_pick(scores, evidence.distances.argmin(axis=1)))
    prior = np.stack([evidence.shares[lang] for lang in documents.langs]) if system.starts_from_shares else None
    found = document_weights(system.weighting, documents.length, scores, evidence.distances, prior)
    cost = int(found.running.sum()), int(found.passes.sum())
    if system.kind == "top1_context":
        return Used(_pick(scores, found.weights.argmax(axis=1)), *cost)
    return Used(mix_log_probs(scores, found.weights), *cost)


def _pick(experts: FloatArray, chosen: IntArray) -> FloatArray:
    return experts[np.arange(len(experts)), chosen]
