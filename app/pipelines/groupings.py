"""The cuts of finished runs beside one another: agreement, balance, and what nearness of languages predicts."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.allocation.distances import informative, typological_distances
from app.allocation.likeness import balance, gain_by_nearness, likeness
from app.allocation.uriel import read_typology
from app.artifacts.counts import AllocationCounts
from app.artifacts.layout import ASSIGNMENT, PROBE_FOUND, RUN
from app.artifacts.store import StageFolder, Store
from app.core.errors import AllocationError, XelmError
from app.core.records import FloatArray, IntArray, JsonObject
from app.pipelines.assign import read_columns
from app.reporting.comparison import ComparedRun
from app.reporting.tables import per_language

log = logging.getLogger(__name__)

# The default of allocation.min_features: the runs that are compared may differ in theirs.
_LEAST_FEATURES = 30


@dataclass(frozen=True)
class RunCut:
    """How a run was cut. held: language -> (k,) training documents of each expert; clusters: languages of each expert,
    None where documents are cut; changes: language -> log ratio of perplexity to dense; text, seed, dense: keys of
    tokens and models.
    """

    run: str
    text: str
    seed: str
    dense: str
    stage: StageFolder
    held: dict[str, IntArray]
    clusters: list[list[str]] | None
    changes: dict[str, float]


def groupings(store: Store, runs: Sequence[ComparedRun]) -> JsonObject:
    """``agreement`` (a row for each pair of cuts of one text), ``balance`` (for each run) and ``predicted`` (for each
    measure of distance between languages); what cannot be said is left out.
    """
    cuts = [cut for run in runs if (cut := _read_cut(store, run)) is not None]
    # Runs may share a cut; it counts once, under the name of the first of them.
    distinct = list({cut.stage.key: cut for cut in reversed(cuts)}.values())[::-1]
    return {
        "agreement": [
            _pair(one, other) for one, other in itertools.combinations(distinct, 2) if one.text == other.text
        ],
        "balance": {cut.run: balance(_sizes(cut)) for cut in cuts},
        "predicted": _predicted(list({_what_predicts(cut): cut for cut in reversed(cuts)}.values())[::-1]),
    }


def groupings_beside(store: Store, name: str, runs: Sequence[ComparedRun]) -> JsonObject:
    """``agreement`` and ``balance`` of one run's cut beside each other cut of the same text in the store; empty where
    there is none. Another run that cannot be read is left out, saying so.
    """
    keys = {run.name: keys_of(store, run.name) for run in runs}
    mine = keys.get(name, {})
    if "allocation" not in mine or "tokens" not in mine:
        return {}
    cuts: dict[str, RunCut] = {}
    # The run itself first, so that of equal cuts its own is the one that is kept.
    for run in sorted(runs, key=lambda run: (run.name != name, run.name)):
        found = keys[run.name]
        if found.get("tokens") != mine["tokens"] or found.get("allocation", "") in ("", *cuts):
            continue
        try:
            if (cut := _read_cut(store, run)) is not None:
                cuts[found["allocation"]] = cut
        except XelmError as error:
            log.warning("report: run %s is not compared with: %s", run.name, error)
    own = cuts.pop(mine["allocation"], None)
    if own is None or not cuts:
        return {}
    return {
        "agreement": [_pair(own, cut) for cut in cuts.values()],
        "balance": {cut.run: balance(_sizes(cut)) for cut in (own, *cuts.values())},
    }


def keys_of(store: Store, run: str) -> dict[str, str]:
    """Readable name -> key of what a run has made."""
    folder = store.run(run)
    made = folder.read_json(RUN) if folder.exists(RUN) else {}
    return {name: str(entry["key"]) for name, entry in made.items() if isinstance(entry, dict)}


def _read_cut(store: Store, run: ComparedRun) -> RunCut | None:
    """None for a run whose allocation or text is not in the store, as one of imported experts."""
    found = keys_of(store, run.name)
    if "allocation" not in found or "tokens" not in found:
        return None
    stage, tokens = store.stage("allocation", found["allocation"]), store.stage("tokens", found["tokens"])
    if not (stage.is_complete and tokens.is_complete):
        return None
    counts = stage.counts(AllocationCounts)
    table = per_language(run.summary)
    # Where it would not differ from the untold ensemble there is no ensemble_told.
    told = next((name for name in ("ensemble_told", "ensemble") if all(name in row for row in table.values())), "")
    # The change is a ratio less 1, so this is the log ratio.
    changes = {lang: math.log1p(float(row[told]["change_from_dense"])) for lang, row in table.items()} if told else {}
    clusters = None if counts.clusters is None else [list(cluster) for cluster in counts.clusters]
    if clusters is None:
        held = {lang: np.asarray(of, dtype=np.int64) for lang, of in counts.documents.items()}
    else:
        sizes, own = tokens.manifest().counts, np.eye(len(clusters), dtype=np.int64)
        held = {
            lang: own[number] * _documents(sizes[f"{lang}/train"])
            for number, cluster in enumerate(clusters)
            for lang in cluster
        }
    of = (tokens.key, found.get("seed", ""), found.get("dense", ""))
    return RunCut(run.name, *of, stage, held, clusters, changes)


def _sizes(cut: RunCut) -> IntArray:
    sizes: IntArray = np.sum(list(cut.held.values()), axis=0)
    return sizes


def _pair(one: RunCut, other: RunCut) -> JsonObject:
    """Over languages where both give whole languages to experts, else over documents."""
    over_languages = one.clusters is not None and other.clusters is not None
    found = likeness(np.sum([_shared(one, other, lang, over_languages) for lang in sorted(one.held)], axis=0))
    things = "languages" if over_languages else "documents"
    return {"one": one.run, "other": other.run, "over": things, "rand": found.rand, "information": found.information}


def _shared(one: RunCut, other: RunCut, lang: str, once: bool) -> IntArray:
    """(k, k of the other) things of a language by the experts that have them in either cut; the language itself where
    ``once``. Documents are read only where both cuts part them, one part of the text at a time.
    """
    if once:
        table: IntArray = np.outer(one.held[lang] > 0, other.held[lang] > 0).astype(np.int64)
    elif one.clusters is not None or other.clusters is not None:  # all documents of one cut are one expert's
        table = np.outer(one.held[lang], other.held[lang]) // max(1, int(one.held[lang].sum()))
    else:
        k = len(other.held[lang])
        table = np.zeros((len(one.held[lang]), k), dtype=np.int64)
        # Both cuts are of one text, so parts and rows of one are those of the other.
        parts = (read_columns(cut.stage, ASSIGNMENT, lang, "expert") for cut in (one, other))
        for mine, theirs in zip(*parts, strict=True):
            # A pair of experts as one number: one bincount counts all pairs.
            table += np.bincount(mine * k + theirs, minlength=table.size).reshape(table.shape)
    return table


def _predicted(cuts: Sequence[RunCut]) -> JsonObject:
    """Measure -> correlation and cases, over runs that differ in the cut alone and give whole languages to experts."""
    found: JsonObject = {}
    whole = [cut for cut in cuts if cut.clusters is not None and cut.changes]
    for key in sorted({_but_for_the_cut(cut) for cut in whole}):
        same = [cut for cut in whole if _but_for_the_cut(cut) == key]
        languages = sorted(same[0].held)
        for name, distances in _measures(same, languages).items():
            result = gain_by_nearness(distances, languages, [(cut.clusters or [], cut.changes) for cut in same])
            if not math.isnan(result.correlation):
                alone = len({_but_for_the_cut(cut) for cut in whole}) == 1
                shown = name if alone else f"{name}, as {same[0].run}"
                found[shown] = {"correlation": result.correlation, "cases": result.cases, "runs": len(same)}
    return found


def _what_predicts(cut: RunCut) -> tuple[str, ...]:
    """Runs of one cut and one training, evaluated in several ways, are one case."""
    return cut.stage.key, cut.text, cut.seed, cut.dense


def _but_for_the_cut(cut: RunCut) -> tuple[str, str, str, int]:
    """With more experts groups are smaller, so their languages nearer, and each expert has fewer steps: runs of several
    k or budgets together would show a correlation that no cut has."""
    return cut.text, cut.seed, cut.dense, len(cut.clusters or [])


def _measures(cuts: Sequence[RunCut], languages: Sequence[str]) -> dict[str, FloatArray]:
    """Distances by syntax where all languages have features, and by each probe that a run has made."""
    measures: dict[str, FloatArray] = {}
    try:
        typology = read_typology(languages, _LEAST_FEATURES, "error")
        measures["typology"] = typological_distances(informative(typology.features))
    except AllocationError:
        pass  # a language without features: nothing to predict by
    for cut in cuts:
        if cut.stage.exists(PROBE_FOUND):
            record = cut.stage.read_json(PROBE_FOUND)
            # The rows of a probe's table are its own languages, in their order.
            if record["languages"] == list(languages):
                measures[str(record["probe"])] = np.array(record["distances"], dtype=np.float64)
    return measures


def _documents(counts: object) -> int:
    assert isinstance(counts, dict)
    return int(counts["documents"])
