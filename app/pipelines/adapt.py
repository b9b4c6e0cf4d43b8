"""A round of adaptation (HMR): donors, text, training, and a new version of the run's ensemble.

Nothing that exists is written again: old experts keep their keys, and the new version is a file beside the old one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from app.adaptation.coverage import badly_covered
from app.adaptation.rounds import (
    NewExpert,
    family_tree,
    parse_groups,
    plan_rounds,
    ranked_by_expert,
    rankings,
    tree_text,
)
from app.allocation.base import expert_names
from app.allocation.storage import load_allocator, save_allocator
from app.allocation.uriel import donor_ranking
from app.artifacts.counts import ModelCounts
from app.artifacts.ensemble import (
    EnsembleRecord,
    ExpertRecord,
    ensemble_versions,
    read_ensemble,
    require_current,
    write_ensemble,
)
from app.artifacts.layout import ALLOCATOR, CURRENT_ENSEMBLE, adaptation_name
from app.artifacts.store import Folder, StageFolder, Store
from app.config.schema import Config
from app.core.errors import ConfigError
from app.core.languages import normalise
from app.core.records import JsonObject
from app.evaluation.scores import load_scores
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
from app.pipelines.forgetting import forgetting_report
from app.pipelines.score import score_models
from app.pipelines.shard import make_shards
from app.pipelines.tokenize import make_tokens
from app.planning.forecast import forecast_clusters
from app.tokens.counts import TokenCounts
from app.tokens.dataset import TokenCorpus
from app.training.model_task import ModelTask

log = logging.getLogger(__name__)


def foresee_adaptation(config: Config, store: Store) -> JsonObject:
    """Donors, rankings and family tree by typology; needs no corpus, and a run only where the cut is by documents."""
    groups = parse_groups(_asked(config))
    record = _record(store.run(config.run.name))
    if record is None:
        clusters = forecast_clusters(config)
        if not clusters:
            raise ConfigError(f"whose languages are whose is known once the run is finished: run {EVALUATE} first")
        names = expert_names(len(clusters))
        owners = {lang: name for name, cluster in zip(names, clusters, strict=True) for lang in cluster}
        first: list[JsonObject] = [
            {"expert": name, "languages": list(cluster), "parent": "seed", "round": 0}
            for name, cluster in zip(names, clusters, strict=True)
        ]
    else:
        owners, first = owners_of(record), ancestors(record)
        groups = [group for group in groups if not set(group) <= set(owners)]
    taken = [str(node["expert"]) for node in first]
    added = plan_rounds(owners, taken, groups, _last_round(first), config.adaptation.in_turn)
    tree = family_tree(first, added)
    return {
        "donors": {lang: new.donor for new in added for lang in new.languages},
        "rankings": {
            "typology": {lang: [list(pair) for pair in row] for lang, row in rankings(groups, list(owners)).items()}
        },
        "family_tree": list(tree),
        "text": tree_text(tree),
    }


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
    later = {lang for expert in record.experts if expert.round for lang in expert.languages}
    groups = [group for group in parse_groups(_asked(config)) if not set(group) <= later]
    if not groups:
        return {"version": record.version, "donors": {}, "text": f"version {record.version} has them all"}
    owners, taken = owners_of(record), [expert.name for expert in record.experts]
    last = max(expert.round for expert in record.experts)
    ranks = {"typology": rankings(groups, list(owners))}
    if config.adaptation.ranking == "perplexity":
        surprise = _surprise(config, store, record, groups)
        ranks["perplexity"] = {
            lang: list(ranked_by_expert(surprise[lang], owners)(lang, sorted(owners))) for lang in surprise
        }
    chosen = ranks[config.adaptation.ranking]
    rank = donor_ranking if config.adaptation.in_turn else (lambda lang, _known: chosen[lang])
    added = plan_rounds(owners, taken, groups, last, config.adaptation.in_turn, rank)
    for new in added:
        log.info("adapt: %s for %s, donor %s, from %s", new.name, "+".join(new.languages), new.donor, new.parent)
    languages = {lang for new in added for lang in (*new.languages, new.donor)}
    text = AdaptationText(config, store, record, sorted(languages))
    with ray_session(config.cluster):
        make_shards(text)
        make_tokens(text)
        _tell_coverage(config, store, text, added)
        experts, lapt = round_tasks(text, record, added)
        train_fleet(config, [*experts, *lapt.values()])
        grown = _grown(store, record, added, experts)
        report = forgetting_report(text, record, grown, {name: task.stage for name, task in lapt.items()})
    require_current(run, record.version)  # the driver's lease can be lost: a machine that slept for a minute
    version = max(ensemble_versions(run)) + 1
    tree = family_tree(ancestors(record), added)
    report |= {"version": version, "family_tree": list(tree)}
    run.write_json(adaptation_name(version), report)  # first, so that no version is without its report
    write_ensemble(run, grown)
    return {
        "version": version,
        "donors": {lang: new.donor for new in added for lang in new.languages},
        "rankings": {
            name: {lang: [list(pair) for pair in row] for lang, row in found.items()} for name, found in ranks.items()
        },
        "family_tree": list(tree),
        "report": report,
        "text": f"{tree_text(tree)}\n\n{report['text']}\n\nversion {version} of run {config.run.name}",
    }


def _asked(config: Config) -> Sequence[str]:
    if not config.adaptation.languages:
        raise ConfigError("adaptation.languages is empty; name the new languages: --languages az,he")
    return config.adaptation.languages


def _record(run: Folder) -> EnsembleRecord | None:
    return read_ensemble(run, "") if run.exists(CURRENT_ENSEMBLE) else None


def _last_round(nodes: Sequence[JsonObject]) -> int:
    return max(int(str(node["round"])) for node in nodes)


def _surprise(
    config: Config, store: Store, record: EnsembleRecord, groups: Sequence[Sequence[str]]
) -> dict[str, dict[str, float]]:
    """New language -> expert -> mean nats per token of a sample of its held-out text."""
    evaluation = config.evaluation.model_copy(update={"max_documents_per_language": config.adaptation.sample_documents})
    sampled = config.model_copy(update={"evaluation": evaluation})
    text = AdaptationText(sampled, store, record, [lang for group in groups for lang in group])
    make_shards(text)
    make_tokens(text)
    scores = score_models(text, {expert.name: store.stage("model", expert.model) for expert in record.experts})
    loaded = {name: load_scores(folder) for name, folder in scores.items()}
    documents = next(iter(loaded.values()))[0]
    langs = np.repeat(np.asarray(documents.langs), documents.length)
    return {
        lang: {name: -float(values[langs == lang].mean()) for name, (_, values) in loaded.items()}
        for lang in sorted(set(documents.langs))
    }


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
    base, added = base_allocation(store, record.allocation)
    names = {expert.name for expert in gone}
    if kept := [new for new in added if new.name not in names and new.parent in names]:
        raise ConfigError(
            f"adaptation.remove: {kept[0].name} ({', '.join(kept[0].languages)}) branched from {kept[0].parent}; remove"
            " its languages too"
        )
    places = [place for place, expert in enumerate(record.experts) if expert.name not in names]
    shares: Mapping[str, tuple[float, ...]] = {
        lang: tuple(held[place] for place in places)
        for lang, held in record.shares.items()
        if not any(lang in expert.languages for expert in gone)
    }
    allocation = _allocation(store, base, [new for new in added if new.name not in names])
    experts = tuple(record.experts[place] for place in places)
    version = write_ensemble(
        store.run(config.run.name), replace(record, experts=experts, allocation=allocation, shares=shares)
    ).version
    return {
        "version": version,
        "removed": sorted(names),
        "text": f"version {version} is without {', '.join(sorted(names))}",
    }
