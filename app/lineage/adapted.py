"""What a round of adaptation starts from and trains: the run's ensemble, text of new languages, models as tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from app.adaptation.rounds import NewExpert
from app.artifacts.ensemble import EnsembleRecord
from app.artifacts.layout import RUN, Stage
from app.artifacts.store import StageFolder, Store
from app.config.schema import Config
from app.core.errors import MissingArtifact
from app.core.records import JsonObject
from app.lineage.inputs import (
    ALLOCATE,
    EVALUATE,
    SEED,
    TOKENIZE,
    PlannedStage,
    StageInputs,
    planned,
    scores_inputs,
)
from app.lineage.lineage import Lineage
from app.lineage.tasks import Parents, branched_task
from app.training.model_task import ModelTask

_DENSE = "dense"


class AdaptationText(Lineage):
    """Shards and tokens of some languages, from the run's corpus, in the tokenizer of the run's models."""

    def __init__(self, config: Config, store: Store, record: EnsembleRecord, languages: Sequence[str]) -> None:
        corpus = config.corpus.model_copy(update={"languages": tuple(sorted(languages))})
        super().__init__(config.model_copy(update={"corpus": corpus}), store)
        self._tokenizer = record.tokenizer

    @cached_property
    def tokenizer(self) -> PlannedStage:
        """The one of the ensemble, which is there."""
        # Not derived anew: a tokenizer learned from these shards would number tokens otherwise than the models do.
        return made_before(self.store, "tokenizer", self._tokenizer, SEED)


@dataclass(frozen=True)
class ScoredText:
    """A text that models are scored on, as ``app.pipelines.score`` asks for it: finished tokens and their tokenizer."""

    config: Config
    store: Store
    tokens: PlannedStage
    tokenizer: PlannedStage

    def scores(self, model_key: str) -> PlannedStage:
        """Where the log-probabilities of one model are or will be."""
        return planned(scores_inputs(self.config, self.tokens.key, model_key), self.store)


def first_text(config: Config, store: Store, tokenizer: PlannedStage) -> ScoredText:
    """The text that the run itself was evaluated on. Raises MissingArtifact."""
    tokens = made_before(store, "tokens", made_stage(config, store, "tokens"), TOKENIZE)
    return ScoredText(config, store, tokens, tokenizer)


def made_before(store: Store, stage: Stage, key: str, made_by: str) -> PlannedStage:
    """A finished stage by its key alone. Raises MissingArtifact."""
    folder = store.stage(stage, key, made_by)
    manifest = folder.manifest()
    return PlannedStage(StageInputs(stage, manifest.fields, manifest.parents, made_by), folder)


def made_stage(config: Config, store: Store, name: str) -> str:
    """Key of a stage of the run by its readable name. Raises MissingArtifact."""
    run = store.run(config.run.name)
    entries = run.read_json(RUN) if run.exists(RUN) else {}
    entry = entries.get(name)
    if not isinstance(entry, dict):
        raise MissingArtifact(f"{run.uri} names no {name}; run {EVALUATE} with this config first")
    return str(entry["key"])


def owners_of(record: EnsembleRecord) -> dict[str, str]:
    """Language -> the expert that holds it, or most of it, by the ensemble's record."""
    owners: dict[str, str] = {}
    for expert in record.experts:
        for lang in expert.languages:
            owners.setdefault(lang, expert.name)
    # Where documents are cut several experts list a language: the greatest share decides, not the first in the list.
    for lang, shares in record.shares.items():
        owners[lang] = record.experts[int(np.argmax(shares))].name
    return owners


def ancestors(record: EnsembleRecord) -> list[JsonObject]:
    """The experts that there are, as ``app.adaptation.rounds.family_tree`` takes them."""
    names = {expert.model: expert.name for expert in record.experts}
    return [
        {
            "expert": expert.name,
            "languages": list(expert.languages),
            "parent": names.get(expert.parent or "", "seed"),
            "round": expert.round,
        }
        for expert in record.experts
    ]


def expert_budget(config: Config, first_experts: int) -> int:
    """Training tokens of a new expert."""
    return config.adaptation.budget_tokens or config.training.budget_tokens // max(1, first_experts)


def round_tasks(
    text: AdaptationText, record: EnsembleRecord, added: Sequence[NewExpert]
) -> tuple[list[ModelTask], dict[str, ModelTask]]:
    """The new experts' tasks in order, and those of LAPT by name; text: of their languages and donors, finished.

    An expert whose parent is in the same list waits for it. LAPT is the dense model on a new language alone: ``total``
    with as many tokens as the expert, ``new`` with as many of the new language.
    """
    config, store = text.config, text.store
    models = {expert.name: expert.model for expert in record.experts}
    budget = expert_budget(config, sum(expert.round == 0 for expert in record.experts))
    share = config.adaptation.donor_share
    experts, lapt = [], {}
    for new in added:
        weights = {lang: (1 - share) / len(new.languages) for lang in new.languages}
        if share:
            weights[new.donor] = share
        parents = _parents(text, models[new.parent])
        experts.append(branched_task(config, store, parents, new.name, weights, budget, new.round))
        # A key is known before the model is trained, so a later one of this round can already branch from it.
        models[new.name] = experts[-1].key
        if config.adaptation.lapt and _DENSE in record.models:
            alone = {lang: 1 / len(new.languages) for lang in new.languages}
            for name, tokens in lapt_budgets(config, new, budget).items():
                lapt[name] = branched_task(
                    config, store, _parents(text, record.models[_DENSE]), name, alone, tokens, new.round
                )
    return experts, lapt


def lapt_budgets(config: Config, new: NewExpert, budget: int) -> dict[str, int]:
    """Name -> training tokens of the two LAPT models beside an expert that has ``budget`` tokens."""
    name = f"lapt_{'_'.join(new.languages)}"
    return {f"{name}_total": budget, f"{name}_new": round(budget * (1 - config.adaptation.donor_share))}


def _parents(text: AdaptationText, model: str) -> Parents:
    return Parents(text.tokens.folder, text.token_corpus, text.store.stage("model", model))


def grown_allocation(store: Store, base: str, added: Sequence[NewExpert]) -> PlannedStage:
    """Where the allocator with the added experts is or will be. base: key of the allocation without them."""
    # All added experts on the first allocation, not the newest on the one before: so an expert is removed by a
    # shorter list, and without any the base itself holds again.
    fields: JsonObject = {
        "added": [{"name": new.name, "languages": list(new.languages), "parent": new.parent} for new in added]
    }
    return planned(StageInputs("allocation", fields, {"base": base}, ALLOCATE), store)


def grown_shares(
    shares: Mapping[str, Sequence[float]], experts: int, added: Sequence[NewExpert]
) -> dict[str, tuple[float, ...]]:
    """Shares of each language with the added experts: none of an old one, all of its own. Empty stays empty."""
    if not shares:
        return {}
    grown = {lang: (*held, *(0.0 for _ in added)) for lang, held in shares.items()}
    for place, new in enumerate(added):
        own = tuple(float(number == experts + place) for number in range(experts + len(added)))
        grown |= dict.fromkeys(new.languages, own)
    return grown


def base_allocation(store: Store, key: str) -> tuple[str, list[NewExpert]]:
    """The allocation without added experts, and those that were added to it, in order; key: of the present one."""
    folder: StageFolder = store.stage("allocation", key)
    manifest = folder.manifest()
    if "base" not in manifest.parents:
        return key, []
    found = manifest.fields["added"]
    assert isinstance(found, list)
    added = []
    for row in found:
        assert isinstance(row, dict) and isinstance(row["languages"], list)
        # Donor and round are not recorded: an allocator is grown from name, languages and parent alone.
        added.append(NewExpert(str(row["name"]), tuple(map(str, row["languages"])), "", str(row["parent"]), 0))
    return manifest.parents["base"], added
