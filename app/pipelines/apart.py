"""Similar languages together against apart: a run's cut beside other cuts of the same text, seed and budget."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np

from app.artifacts.counts import AllocationCounts
from app.artifacts.store import Store
from app.core.errors import XelmError
from app.core.records import JsonObject
from app.evaluation.company import Cut, together_against_apart
from app.evaluation.document_rows import open_rows
from app.evaluation.systems import DENSE, ENSEMBLE_TOLD, SEED
from app.evaluation.totals import Totals
from app.pipelines.groupings import keys_of
from app.reporting.comparison import ComparedRun

log = logging.getLogger(__name__)

_SHARED = ("tokens", "seed", "dense")
"""Of equal keys: then text, budget, optimisation and random seed are equal too."""


def cuts_beside(
    store: Store,
    name: str,
    runs: Sequence[ComparedRun],
    distances: Mapping[str, Mapping[str, float]],
    samples: int,
    seed: int,
) -> list[JsonObject]:
    """A row for each other run with another cut of whole languages into as many experts, and the same dense model.

    Of runs with an equal cut the first counts. ``run``, ``cut`` and what ``together_against_apart`` gives; none where
    the run itself cuts documents. A run that cannot be read is left out, saying so.
    """
    keys = {run.name: keys_of(store, run.name) for run in runs}
    mine = keys.get(name, {})
    if not {"allocation", "evaluation", *_SHARED} <= set(mine) or (this := _cut(store, mine)) is None:
        return []
    # The run's own cut counts as seen: under another name it is no other cut.
    rows, seen = [], {mine["allocation"]}
    for run in runs:
        found = keys[run.name]
        if found.get("allocation", "") in ("", *seen) or any(found.get(part) != mine[part] for part in _SHARED):
            continue
        try:
            other = _cut(store, found)
        except XelmError as error:
            log.warning("cross_lingual: run %s is not compared with: %s", run.name, error)
            continue
        if other is None or len(other.clusters) != len(this.clusters):
            continue
        if not _same_documents(this, other):
            log.warning("cross_lingual: run %s is not compared with: it was scored on other documents", run.name)
            continue
        seen.add(found["allocation"])
        compared = together_against_apart(this, other, distances, samples, seed)
        rows.append({"run": run.name, "cut": str(run.summary["allocation"]), **compared})
    return rows


def _cut(store: Store, keys: Mapping[str, str]) -> Cut | None:
    """None for a cut of documents, and for an evaluation that names no told ensemble."""
    clusters = store.stage("allocation", keys["allocation"]).counts(AllocationCounts).clusters
    if clusters is None or "evaluation" not in keys:
        return None
    wanted = (ENSEMBLE_TOLD, DENSE, SEED)
    totals = Totals()
    with open_rows(store.stage("evaluation", keys["evaluation"])) as rows:
        if not set(wanted) <= set(rows.columns):
            return None
        for group in rows.groups(["lang", "tokens", "bytes", *wanted]):
            totals.add(group["lang"].tolist(), group["tokens"], group["bytes"], {name: group[name] for name in wanted})
    told, dense, seed = (totals.by_system()[name] for name in wanted)
    return Cut(clusters, told, dense, seed)


def _same_documents(one: Cut, other: Cut) -> bool:
    # Intervals are paired, so both must have the same documents in the same order. The totals keep no ids; equal
    # lengths, one after the other, are taken for that.
    return one.told.keys() == other.told.keys() and all(
        np.array_equal(one.told[lang].tokens, other.told[lang].tokens) for lang in one.told
    )
