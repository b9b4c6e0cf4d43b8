"""What experts of languages do to other languages, and what they cost: each question answered from what a run has."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import asdict
from statistics import median

from app.allocation.uriel import distances_between
from app.artifacts.counts import ModelCounts, ScoresCounts
from app.artifacts.ensemble import read_ensemble
from app.artifacts.layout import ADAPTATIONS, CONFUSION, CROSS_LINGUAL, FINAL_MODEL, SUMMARY
from app.artifacts.store import Folder, Store
from app.config.schema import Config
from app.core.errors import MissingArtifact
from app.core.records import JsonObject, JsonValue
from app.evaluation.costs import ModelCost, system_costs
from app.evaluation.round_transfer import Added, Transfer, transfers
from app.evaluation.systems import DENSE, SEED
from app.evaluation.unseen import nearness, unseen_rows
from app.lineage.inputs import CROSS_LINGUAL as COMMAND
from app.lineage.inputs import EVALUATE
from app.lineage.lineage import Lineage
from app.lineage.runs import record
from app.pipelines.apart import cuts_beside
from app.pipelines.compare import finished_runs
from app.pipelines.confusion import make_confusion
from app.reporting.cross_lingual import cross_lingual_text
from app.reporting.tables import per_language

log = logging.getLogger(__name__)

Distances = Mapping[str, Mapping[str, float]]
_ADAPT = "python -m jobs.adapt --languages az,he,sv --set adaptation.in_turn=true makes three, with this run's options"
_TYPOLOGICAL = "python -m jobs.all --set allocation.strategy=typological --set run.name=NAME"


def make_cross_lingual(config: Config, store: Store) -> JsonObject:
    """Generate what is missing, write ``evaluation/cross_lingual.json``, and return it with the text to print.

    Raises MissingArtifact before the run is evaluated, and what ``make_confusion`` raises.
    """
    lineage = Lineage(config, store)
    if not lineage.run.exists(SUMMARY):
        raise MissingArtifact(f"{lineage.run.uri}/{SUMMARY} is missing; run {EVALUATE} with this config first")
    record(lineage, {"confusion": make_confusion(lineage)})
    answers = cross_lingual_answers(lineage, lineage.run.read_json(SUMMARY))
    lineage.run.write_json(CROSS_LINGUAL, answers)
    return {"answers": answers, "text": f"{cross_lingual_text(answers)}\n\nfigures  {lineage.run.uri}/{CROSS_LINGUAL}"}


def cross_lingual_answers(lineage: Lineage, summary: JsonObject) -> JsonObject:
    """``unseen``, ``together``, ``rounds``, ``confusion`` and ``costs``; what cannot be answered stands in ``missing``
    with why and the command.

    summary: of the run. Nothing is run for it.
    """
    config, stage = lineage.config, lineage.confusion
    distances = distances_between(list(per_language(summary)), config.allocation.min_features)
    found: dict[str, JsonObject | str] = {
        "unseen": _unseen(summary, distances),
        "together": _together(lineage, distances),
        "rounds": _rounds(config, lineage.run),
        "confusion": stage.folder.read_json(CONFUSION) if stage.is_complete else f"no text yet: {COMMAND}",
        "costs": _costs(lineage, summary),
    }
    answers: JsonObject = {name: answer for name, answer in found.items() if not isinstance(answer, str)}
    answers["missing"] = {name: answer for name, answer in found.items() if isinstance(answer, str)}
    return answers


def _together(lineage: Lineage, distances: Distances) -> JsonObject | str:
    config, store = lineage.config, lineage.store
    samples, seed = config.evaluation.bootstrap_samples, config.run.seed
    rows = cuts_beside(store, config.run.name, finished_runs(store), distances, samples, seed)
    if rows:
        return {"cuts": list(rows)}
    return (
        "no other run of the same text, seed, budget and k has another cut of whole languages; with this run's options:"
        f" python -m jobs.all --set allocation.strategy=anti_typological --set run.name={config.run.name}-apart"
    )


def _rounds(config: Config, run: Folder) -> JsonObject | str:
    """Of all rounds so far that the current version has experts of; a language that several reports have scored counts
    by the last one. What was scored of other models than the current version's is left out; a report of nothing else
    is named in the log.
    """
    # The oldest first, so that the newest report's figures stand.
    names = run.names(ADAPTATIONS)
    if not names:
        return f"no round of new languages has scored its experts alone: {_ADAPT}"
    now = read_ensemble(run, "")
    current = {**now.models, **{expert.name: expert.model for expert in now.experts}}
    reports = [run.read_json(f"{ADAPTATIONS}/{name}") for name in names]
    alone: dict[str, dict[str, float]] = {}
    added: dict[str, Added] = {}
    for file, report in zip(names, reports, strict=True):
        same = {name for name, key in _objects(report).get("models", {}).items() if current.get(name) == key}
        for part in ("old", "earlier", "new"):
            for lang, row in _objects(_objects(report).get(part, {}).get("alone", {})).items():
                if kept := {name: float(str(value)) for name, value in row.items() if name in same}:
                    alone.setdefault(lang, {}).update(kept)
        if not same - now.models.keys():
            log.warning("cross_lingual: %s/%s is left out: it names none of this version's experts", ADAPTATIONS, file)
        added |= {one.expert: one for one in _added(report) if one.expert in same}
    if not alone:
        return f"no round of new languages has scored its experts alone: {_ADAPT}"
    distances = distances_between(list(alone), config.allocation.min_features)
    found, correlation = transfers(list(added.values()), alone, distances)
    return {
        "rounds": len({one.round for one in added.values()}),
        "correlation": known(correlation.correlation),
        "cases": correlation.cases,
        "rows": [_transfer_row(one) for one in found],
    }


def _added(report: JsonObject) -> list[Added]:
    """The experts of a report's own rounds: those of its tree that name a donor."""
    tree = report["family_tree"]
    assert isinstance(tree, list)
    found = []
    for node in tree:
        assert isinstance(node, dict)
        # Experts that were there before, of the first cut or of earlier rounds, stand in the tree without a donor.
        if "donor" in node and isinstance(languages := node["languages"], list):
            new = tuple(map(str, languages))
            found.append(
                Added(str(node["expert"]), new, str(node["donor"]), str(node["parent"]), int(str(node["round"])))
            )
    return found


def _transfer_row(one: Transfer) -> JsonObject:
    figures = {name: known(getattr(one, name)) for name in ("before", "own", "donor", "relatives", "others")}
    names: JsonObject = {
        "expert": one.added.expert,
        "parent": one.added.parent,
        "languages": list(one.added.languages),
        "donor_language": one.added.donor,
        "round": one.added.round,
        "related": list(one.related),
    }
    return {**names, **figures}


def known(value: float) -> float | None:
    """A figure for JSON, which has no NaN."""
    return None if math.isnan(value) else value


def _unseen(summary: JsonObject, distances: Distances) -> JsonObject | str:
    table = per_language(summary)
    experts = summary["experts"]
    assert isinstance(experts, list)
    rows = unseen_rows(table, list(map(str, experts)), distances, SEED)
    if not rows:
        return f"every expert has seen some text of every language; a cut of whole languages tells: {_TYPOLOGICAL}"
    found = nearness(rows)
    figures = {**asdict(found.correlated), "nearest": found.nearest, "farthest": found.farthest}
    undescribed: list[JsonValue] = [lang for lang in table if lang not in distances]
    return {
        **{name: known(value) for name, value in figures.items()},
        "languages": found.languages,
        "nearest_wins": found.nearest_wins,
        "rows": [asdict(row) for row in rows],
        "own": _own(table, summary),
        "undescribed": undescribed,
    }


def _own(table: Mapping[str, Mapping[str, Mapping[str, float]]], summary: JsonObject) -> JsonObject:
    """Language -> log of the perplexity of the expert that holds it over the seed's."""
    owners = summary["expert_of_language"]
    assert isinstance(owners, dict)
    return {
        lang: math.log(row[str(owners[lang])]["perplexity"] / row[SEED]["perplexity"])
        for lang, row in table.items()
        if owners.get(lang) in row
    }


def _costs(lineage: Lineage, summary: JsonObject) -> JsonObject:
    """``systems``, and ``text``: how many texts are written at once."""
    models = {"seed": lineage.seed.folder}
    models |= {task.name: task.stage for task in lineage.baselines if task.name == DENSE}
    experts = [task.name for task in lineage.experts]
    models |= {task.name: task.stage for task in lineage.experts}
    recorded = {}
    for name, stage in models.items():
        scores = lineage.scores(stage.key).folder
        scored = (0, 0.0)
        if scores.is_complete:
            scored = scores.counts(ScoresCounts).last_tokens, scores.manifest().seconds
        recorded[name] = ModelCost(stage.counts(ModelCounts).parameters, stage.child(FINAL_MODEL).size_bytes(), scored)
    passes = {name: float(str(how["passes_per_token"])) for name, how in _objects(summary["made"]).items()}
    rows = system_costs(recorded, experts, passes, _written(lineage))
    return {"systems": [asdict(row) for row in rows], "texts": lineage.config.evaluation.confusion_texts}


def _written(lineage: Lineage) -> dict[str, float]:
    """System -> seconds for a token that it wrote, the median over languages: one that was disturbed does not count."""
    stage = lineage.confusion
    if not stage.is_complete:
        return {}
    times: dict[str, float] = {}
    for name, row in _objects(stage.folder.read_json(CONFUSION)["systems"]).items():
        cells = [(int(str(cell["tokens"])), float(str(cell["seconds"]))) for cell in _objects(row).values()]
        # No tokens: the held-out documents themselves, which nobody wrote.
        if each := [seconds / tokens for tokens, seconds in cells if tokens]:
            times[name] = median(each)
    return times


def _objects(value: JsonValue) -> dict[str, JsonObject]:
    assert isinstance(value, dict)
    return {name: one for name, one in value.items() if isinstance(one, dict)}
