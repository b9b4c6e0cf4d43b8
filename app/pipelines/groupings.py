"""The cuts of finished runs beside one another: agreement, balance, and what nearness of languages foretells."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.allocation.distances import informative, typological_distances
from app.allocation.likeness import balance, foretold, likeness
from app.allocation.uriel import read_typology
from app.artifacts.counts import AllocationCounts
from app.artifacts.layout import ASSIGNMENT, PROBE_FOUND, RUN
from app.artifacts.store import StageFolder, Store
from app.core.errors import AllocationError, XelmError
from app.core.records import FloatArray, IntArray, JsonObject
from app.pipelines.assign import read_column
from app.reporting.comparison import ComparedRun
from app.reporting.tables import per_language

log = logging.getLogger(__name__)

_LEAST_FEATURES = 30


@dataclass(frozen=True)
class RunCut:
    """How a run was cut. labels: language -> expert of each training document; clusters: languages of each expert, None
    where documents are cut; changes: language -> log ratio of perplexity to dense; text: key of the tokens.
    """

    run: str
    text: str
    seed: str
    stage: StageFolder
    labels: dict[str, IntArray]
    clusters: list[list[str]] | None
    changes: dict[str, float]


def groupings(store: Store, runs: Sequence[ComparedRun]) -> JsonObject:
    """``agreement`` (a row for each pair of cuts of one text), ``balance`` (for each run) and ``foretold`` (for each
    measure of distance between languages); what cannot be said is left out.
    """
    cuts = [cut for run in runs if (cut := _read_cut(store, run)) is not None]
    distinct = list({cut.stage.key: cut for cut in reversed(cuts)}.values())[::-1]
    return {
        "agreement": [
            _pair(one, other) for one, other in itertools.combinations(distinct, 2) if one.text == other.text
        ],
        "balance": {cut.run: balance(np.concatenate(list(cut.labels.values()))) for cut in cuts},
        "foretold": _foretold(cuts),
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
        "balance": {cut.run: balance(np.concatenate(list(cut.labels.values()))) for cut in (own, *cuts.values())},
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
    told = next((name for name in ("ensemble_told", "ensemble") if all(name in row for row in table.values())), "")
    changes = {lang: math.log1p(float(row[told]["change_from_dense"])) for lang, row in table.items()} if told else {}
    if counts.clusters is None:
        labels = {lang: read_column(stage, ASSIGNMENT, lang, "expert") for lang in counts.documents}
        clusters = None
    else:
        sizes = tokens.manifest().counts
        clusters = [list(cluster) for cluster in counts.clusters]
        labels = {
            lang: np.full(_documents(sizes[f"{lang}/train"]), number, dtype=np.int64)
            for number, cluster in enumerate(clusters)
            for lang in cluster
        }
    return RunCut(run.name, tokens.key, found.get("seed", ""), stage, labels, clusters, changes)


def _pair(one: RunCut, other: RunCut) -> JsonObject:
    """Over languages where both give whole languages to experts, else over documents."""
    if one.clusters is not None and other.clusters is not None:
        things, pair = "languages", [_by_language(cut) for cut in (one, other)]
    else:
        things, pair = (
            "documents",
            [np.concatenate([cut.labels[lang] for lang in sorted(cut.labels)]) for cut in (one, other)],
        )
    found = likeness(pair[0], pair[1])
    return {"one": one.run, "other": other.run, "over": things, "rand": found.rand, "information": found.information}


def _by_language(cut: RunCut) -> IntArray:
    return np.array([cut.labels[lang][0] for lang in sorted(cut.labels)], dtype=np.int64)


def _foretold(cuts: Sequence[RunCut]) -> JsonObject:
    """Measure -> correlation and cases, over runs of one text and seed that give whole languages to experts."""
    found: JsonObject = {}
    whole = [cut for cut in cuts if cut.clusters is not None and cut.changes]
    for key in sorted({(cut.text, cut.seed) for cut in whole}):
        same = [cut for cut in whole if (cut.text, cut.seed) == key]
        languages = sorted(same[0].labels)
        for name, distances in _measures(same, languages).items():
            result = foretold(distances, languages, [(cut.clusters or [], cut.changes) for cut in same])
            if not math.isnan(result.correlation):
                shown = name if len({(cut.text, cut.seed) for cut in whole}) == 1 else f"{name}, as {same[0].run}"
                found[shown] = {"correlation": result.correlation, "cases": result.cases, "runs": len(same)}
    return found


def _measures(cuts: Sequence[RunCut], languages: Sequence[str]) -> dict[str, FloatArray]:
    """Distances by syntax where all languages have features, and by each probe that a run has made."""
    measures: dict[str, FloatArray] = {}
    try:
        typology = read_typology(languages, _LEAST_FEATURES, "error")
        measures["typology"] = typological_distances(informative(typology.features))
    except AllocationError:
        pass  # a language without features: nothing to foretell by
    for cut in cuts:
        if cut.stage.exists(PROBE_FOUND):
            record = cut.stage.read_json(PROBE_FOUND)
            if record["languages"] == list(languages):
                measures[str(record["probe"])] = np.array(record["distances"], dtype=np.float64)
    return measures


def _documents(counts: object) -> int:
    assert isinstance(counts, dict)
    return int(counts["documents"])
