"""Which trial to take: the front that nothing beats in everything, and whether the best really beats the next."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from app.artifacts.store import StageFolder, Store
from app.core.records import FloatArray, IntArray, JsonObject
from app.core.seeding import generator
from app.evaluation.document_rows import open_rows
from app.evaluation.systems import ENSEMBLE
from app.evaluation.totals import Totals
from app.evaluation.win_rate import resampled_log_perplexities
from app.lineage.adapted import made_stage
from tune.figures import LEAST
from tune.space import Outcome, Trial

COSTS = ("active_parameters", "training_seconds")
"""What quality is paid with: parameters that run for a token, and seconds of training."""


@dataclass(frozen=True)
class Recipe:
    """Trials that have finished and differ in their random seed alone, in the order of the sweep."""

    outcomes: tuple[Outcome, ...]

    def mean(self, figure: str) -> float:
        """Of a figure over the seeds."""
        return float(np.mean(self.values(figure)))

    def values(self, figure: str) -> list[float]:
        """Of a figure, by trial."""
        return [float(str(outcome.figures[figure])) for outcome in self.outcomes]


def recipes(outcomes: Sequence[Outcome]) -> list[Recipe]:
    """The finished trials by recipe, the one of the least mean first: the best single seed would be the luckiest.

    A recipe of which a seed has not finished comes after those of which all have.
    """
    found: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.status == "finished":
            settings = {axis: value for axis, value in outcome.trial.settings.items() if axis != "random_seed"}
            found.setdefault(repr(sorted(settings.items())), []).append(outcome)
    grouped = [Recipe(tuple(group)) for group in found.values()]
    return sorted(grouped, key=lambda recipe: (-len(recipe.outcomes), recipe.mean(LEAST)))


def on_one_seed(best: Recipe, next_best: Recipe) -> tuple[Trial, Trial]:
    """A trial of each, of the same random seed where both have one."""
    seeds = {outcome.trial.settings.get("random_seed"): outcome.trial for outcome in reversed(next_best.outcomes)}
    shared = (outcome.trial for outcome in best.outcomes if outcome.trial.settings.get("random_seed") in seeds)
    first = next(shared, best.outcomes[0].trial)
    return first, seeds.get(first.settings.get("random_seed"), next_best.outcomes[0].trial)


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
        # (samples, 2): both on the same draws, so that what is hard for both cancels.
        values = resampled_log_perplexities(log_probs, tokens, samples, generator(seed, "choose", lang))
        drawn.append(values[:, 0] - values[:, 1])
        whole = -log_probs.sum(axis=0) / tokens.sum()
        means.append(whole[0] - whole[1])
    low, high = np.percentile(np.mean(drawn, axis=0), [2.5, 97.5])
    return float(np.mean(means)), float(low), float(high)


def comparison(store: Store, first: Trial, second: Trial) -> JsonObject:
    """Whether the first trial's ensemble beats the second's: ``clear``, or has ``worse`` perplexity, if the interval
    excludes no difference. They need not have the same dense model, to which their figures are ratios.

    They must have been scored on the same documents; ``clear`` is None where they were not.
    """
    found = _side_by_side(*(_evaluation(store, trial) for trial in (first, second)))
    if found is None:
        return {"against": second.name, "clear": None, "reason": "scored on other documents"}
    mine, theirs = found.by_system().values()
    documents = {
        lang: (np.stack([mine[lang].log_prob, theirs[lang].log_prob], axis=1), mine[lang].tokens) for lang in mine
    }
    evaluation = first.config.evaluation
    mean, low, high = paired_difference(documents, evaluation.bootstrap_samples, first.config.run.seed)
    return {"against": second.name, "log_ratio": mean, "low": low, "high": high, "clear": high < 0, "worse": low > 0}


def _evaluation(store: Store, trial: Trial) -> StageFolder:
    return store.stage("evaluation", made_stage(trial.config, store, "evaluation"))


def _side_by_side(first: StageFolder, second: StageFolder) -> Totals | None:
    """Totals of both ensembles; None where their documents, which stand in order, are not the same."""
    totals, names = Totals(), ("doc_id", "lang")
    with open_rows(first) as one, open_rows(second) as other:
        columns = [*names, "tokens", "bytes", ENSEMBLE]
        # Block by block, as all of them may not fit in memory; zip alone would pass over what only one has.
        for mine, theirs in itertools.zip_longest(one.groups(columns), other.groups(columns)):
            if mine is None or theirs is None or any(not np.array_equal(mine[name], theirs[name]) for name in names):
                return None
            nats = {"first": mine[ENSEMBLE], "second": theirs[ENSEMBLE]}
            totals.add(mine["lang"].tolist(), mine["tokens"], mine["bytes"], nats)
    return totals
