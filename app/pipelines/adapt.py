"""A round of adaptation (HMR): donors, text, training, and a new version of the run's ensemble.

Nothing that exists is written again: old experts keep their keys, and the new version is a file beside the old one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from app.adaptation.coverage import badly_covered
from app.adaptation.rounds import NewExpert, family_tree, plan_rounds, require_new, tree_text
from app.allocation.storage import load_allocator, save_allocator
from app.artifacts.counts import ModelCounts
from app.artifacts.ensemble import (
    EnsembleRecord,
    ExpertRecord,
    names_given,
    next_version,
    read_ensemble,
    require_current,
    write_ensemble,
)
from app.artifacts.layout import ALLOCATOR, adaptation_name
from app.artifacts.store import StageFolder, Store
from app.config.schema import Config
from app.core.errors import ConfigError
from app.core.languages import normalise
from app.core.records import JsonObject
from app.fleet.ray_session import ray_session
from app.fleet.run_fleet import train_fleet
from app.lineage.adapted import (
    AdaptationText,
    ancestors,
    base_allocation,
    first_text,
    grown_allocation,
    grown_shares,
    owners_of,
    round_tasks,
)
from app.lineage.inputs import EVALUATE
from app.lineage.runs import unlike_the_run
from app.pipelines.donors import made_rankings
from app.pipelines.foresee import asked_groups, last_round, missing_groups
from app.pipelines.forgetting import forgetting_report
from app.pipelines.shard import make_shards
from app.pipelines.tokenize import make_tokens
from app.reporting.rounds import rankings_text
from app.tokens.counts import TokenCounts
from app.tokens.dataset import TokenCorpus
from app.training.model_task import ModelTask

log = logging.getLogger(__name__)


def adapt_run(config: Config, store: Store) -> JsonObject:
    """Add the new languages' experts to the run's ensemble, or remove some; returns the new version and what is new.

    Languages that an added expert holds already are left as they are, so the same command goes on after any
    interruption. Raises MissingArtifact without a finished run, AllocationError for a language that a first expert
    holds or that has no donor, and what training raises.
    """
    run = store.run(config.run.name)
    record = read_ensemble(run, f"run {EVALUATE} with this config first")
    if config.adaptation.remove:
        return _removed(config, store, record)
    for line in unlike_the_run(config, run):
        log.warning("adapt: %s", line)
    groups = missing_groups(record, asked_groups(config))
    if not groups:
        return {"version": record.version, "donors": {}, "text": f"version {record.version} has them all"}
    owners, first = owners_of(record), ancestors(record)
    require_new(owners, groups)
    with ray_session(config.cluster):
        found = made_rankings(config, store, record, groups)
        by = config.adaptation.ranking
        added = plan_rounds(
            owners, names_given(run), groups, last_round(first), config.adaptation.in_turn, found.by[by]
        )
        ranked = found.table(groups, sorted(owners))
        log.info("adapt: donors\n%s", rankings_text(ranked, found.missing, by))
        grown, report = _train_round(config, store, record, added)
    require_current(run, record.version)  # before the report too: that of another round may stand at this number
    version = next_version(run, grown)
    tree = family_tree(first, added)
    about: JsonObject = {
        "version": version,
        "family_tree": list(tree),
        "donors": {lang: new.donor for new in added for lang in new.languages},
        "donors_by": by,
        "rankings": dict(ranked),
        "not_computed": dict(found.missing),
    }
    report |= about
    run.write_json(adaptation_name(version), report)  # first, so that no version is without its report
    write_ensemble(run, grown, grown_from=record.version)
    shown = [tree_text(tree), rankings_text(ranked, found.missing, by), str(report["text"])]
    text = "\n\n".join([*shown, f"version {version} of run {config.run.name}"])
    return {**about, "report": report, "text": text}


def _train_round(
    config: Config, store: Store, record: EnsembleRecord, added: Sequence[NewExpert]
) -> tuple[EnsembleRecord, JsonObject]:
    """The ensemble with the new experts, trained, and what they gave and took."""
    for new in added:
        log.info("adapt: %s for %s, donor %s, from %s", new.name, "+".join(new.languages), new.donor, new.parent)
    # A text of its own, for which the donors' is read again: with the new languages in corpus.languages every key
    # of the run would change, and all of it would be made anew.
    languages = {lang for new in added for lang in (*new.languages, new.donor)}
    text = AdaptationText(config, store, record, sorted(languages))
    make_shards(text)
    make_tokens(text)
    _tell_coverage(config, store, text, added)
    experts, lapt = round_tasks(text, record, added)
    train_fleet(config, [*experts, *lapt.values()])
    grown = _grown(store, record, added, experts)
    return grown, forgetting_report(text, record, grown, {name: task.stage for name, task in lapt.items()})


def _tell_coverage(config: Config, store: Store, text: AdaptationText, added: Sequence[NewExpert]) -> None:
    """Say which new languages the tokenizer covers badly, before anything is trained."""
    first = TokenCorpus.open(first_text(config, store, text.tokenizer).tokens.folder).counts
    mine, new = text.token_corpus.counts, [lang for expert in added for lang in expert.languages]
    for lang, times in badly_covered(_fertility(mine, new), _fertility(first, first.languages())).items():
        log.warning(
            "adapt: the tokenizer needs %.1f times as many tokens per byte of %s as of the first languages' median: its"
            " texts are long for the models, and its perplexity per token is not comparable",
            times,
            lang,
        )


def _fertility(counts: TokenCounts, languages: Sequence[str]) -> dict[str, float]:
    return {lang: counts.tokens(lang, "train") / max(1, counts.bytes(lang, "train")) for lang in languages}


def _grown(
    store: Store, record: EnsembleRecord, added: Sequence[NewExpert], tasks: Sequence[ModelTask]
) -> EnsembleRecord:
    """The ensemble with the added experts, and with an allocator that has them."""
    base, before = base_allocation(store, record.allocation)
    # From the first cut with all that were ever added, not from the current one: so equal experts have one key
    # in however many rounds they came, and a removal is the same stage with a shorter list.
    allocation = _allocation(store, base, [*before, *added])
    entries = [_entry(new, task) for new, task in zip(added, tasks, strict=True)]
    shares = grown_shares(record.shares, len(record.experts), added)
    return replace(record, experts=(*record.experts, *entries), allocation=allocation, shares=shares)


def _entry(new: NewExpert, task: ModelTask) -> ExpertRecord:
    counts = task.stage.counts(ModelCounts)
    return ExpertRecord(
        new.name, task.key, task.parent, new.round, new.languages, counts.weights_sha256, counts.tokens_seen
    )


def _allocation(store: Store, base: str, added: Sequence[NewExpert]) -> str:
    """Key of the finished allocation with these experts; the base itself without any."""
    if not added:
        return base
    started, stage = time.monotonic(), grown_allocation(store, base, added)
    if not stage.is_complete:
        folder: StageFolder = store.stage("allocation", base)
        allocator = load_allocator(folder.child(ALLOCATOR).read)
        for new in added:
            allocator = allocator.with_expert(new.name, new.languages, new.parent)
        save_allocator(allocator, stage.folder.child(ALLOCATOR).write)
        counts: JsonObject = {"experts": list(allocator.experts), "unit": allocator.unit}
        stage.publish(counts, time.monotonic() - started)
    return stage.key


def _removed(config: Config, store: Store, record: EnsembleRecord) -> JsonObject:
    """A version without the added experts of these languages. Raises ConfigError for what was never added, and for an
    expert that others branched from: they route beside it.
    """
    wanted = {normalise(lang) for lang in config.adaptation.remove}
    gone = [expert for expert in record.experts if expert.round and wanted & set(expert.languages)]
    if lost := sorted(wanted - {lang for expert in gone for lang in expert.languages}):
        raise ConfigError(f"adaptation.remove: no added expert holds {', '.join(lost)}; only added ones can be removed")
    if also := sorted({lang for expert in gone for lang in expert.languages} - wanted):
        shared = ", ".join(sorted(wanted))
        raise ConfigError(
            f"adaptation.remove: {', '.join(also)} would go too, since one expert holds them with {shared}; name them"
            " as well"
        )
    base, added = base_allocation(store, record.allocation)
    names = {expert.name for expert in gone}
    if kept := [new for new in added if new.name not in names and new.parent in names]:
        raise ConfigError(
            f"adaptation.remove: {kept[0].name} ({', '.join(kept[0].languages)}) branched from {kept[0].parent}; remove"
            " its languages too"
        )
    # Shares are by the experts' places, so they lose the same columns.
    places = [place for place, expert in enumerate(record.experts) if expert.name not in names]
    shares: Mapping[str, tuple[float, ...]] = {
        lang: tuple(held[place] for place in places)
        for lang, held in record.shares.items()
        if not any(lang in expert.languages for expert in gone)
    }
    allocation = _allocation(store, base, [new for new in added if new.name not in names])
    experts = tuple(record.experts[place] for place in places)
    left = replace(record, experts=experts, allocation=allocation, shares=shares)
    version = write_ensemble(store.run(config.run.name), left, grown_from=record.version).version
    return {
        "version": version,
        "removed": sorted(names),
        "text": f"version {version} is without {', '.join(sorted(names))}",
    }
