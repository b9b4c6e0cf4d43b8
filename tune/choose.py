"""Which trial to take: the front that nothing beats in everything, and whether the best really beats the next."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow.parquet as pq

from app.artifacts.layout import DOCUMENT_ROWS
from app.artifacts.store import Store
from app.core.records import FloatArray, IntArray, JsonObject
from app.core.seeding import generator
from app.evaluation.systems import ENSEMBLE
from app.evaluation.win_rate import resampled_log_perplexities
from app.lineage.adapted import made_stage
from tune.figures import LEAST
from tune.space import Trial

COSTS = ("active_parameters", "training_seconds")
"""What quality is paid with: parameters that run for a token, and seconds of training."""


def pareto_front(figures: Sequence[Mapping[str, object]]) -> list[int]:
    """Places of the trials that no other is at least as good as in quality and every cost, and better in one."""
    points = np.array([[float(str(found[name])) for name in (LEAST, *COSTS)] for found in figures])
    return [
        place
        for place, point in enumerate(points)
        if not any((other <= point).all() and (other < point).any() for other in points)
    ]


def paired_difference(
    documents: Mapping[str, tuple[FloatArray, IntArray]], samples: int, seed: int
) -> tuple[float, float, float]:
    """Mean over languages of log(ppl of the first / ppl of the second) on the same documents, and its 95 % interval.

    documents: language -> (documents, 2) nats of both and (documents,) tokens. Paired bootstrap over the documents of
    each language.
    """
    drawn, means = [], []
    for lang in sorted(documents):
        log_probs, tokens = documents[lang]
        values = resampled_log_perplexities(log_probs, tokens, samples, generator(seed, "choose", lang))
        drawn.append(values[:, 0] - values[:, 1])
        whole = -log_probs.sum(axis=0) / tokens.sum()
        means.append(whole[0] - whole[1])
    low, high = np.percentile(np.mean(drawn, axis=0), [2.5, 97.5])
    return float(np.mean(means)), float(low), float(high)


def comparison(store: Store, first: Trial, second: Trial) -> JsonObject:
    """Whether the first trial's ensemble beats the second's: clear if the interval excludes no difference.

    They must have been scored on the same documents; ``clear`` is None where they were not.
    """
    one, other = (_documents(store, trial) for trial in (first, second))
    if set(one) != set(other):
        return {"against": second.name, "clear": None, "reason": "scored on other documents"}
    by_language: dict[str, list[str]] = {}
    for name, (lang, _, _) in one.items():
        by_language.setdefault(lang, []).append(name)
    documents = {
        lang: (np.array([[one[name][2], other[name][2]] for name in names]), np.array([one[name][1] for name in names]))
        for lang, names in by_language.items()
    }
    evaluation = first.config.evaluation
    mean, low, high = paired_difference(documents, evaluation.bootstrap_samples, first.config.run.seed)
    return {"against": second.name, "log_ratio": mean, "low": low, "high": high, "clear": high < 0}


def _documents(store: Store, trial: Trial) -> dict[str, tuple[str, int, float]]:
    """Document -> language, tokens, and nats of the trial's ensemble."""
    stage = store.stage("evaluation", made_stage(trial.config, store, "evaluation"))
    table = pq.read_table(io.BytesIO(stage.read(DOCUMENT_ROWS)))
    columns = (table[name].to_pylist() for name in ("doc_id", "lang", "tokens", ENSEMBLE))
    return {f"{lang}/{name}": (lang, tokens, nats) for name, lang, tokens, nats in zip(*columns, strict=True)}
