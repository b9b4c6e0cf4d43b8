"""Which trial to take: the front that nothing beats in everything, and whether the best really beats the next."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

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
    """Trials that have finished and differ in their random seed alone, in the order of the sweep; ``unfinished``: how
    many others of the same settings have not.
    """

    outcomes: tuple[Outcome, ...]
    unfinished: int = 0

    def mean(self, figure: str) -> float:
        """Of a figure over the seeds."""
        return float(np.mean(self.values(figure)))

    def values(self, figure: str) -> list[float]:
        """Of a figure, by trial."""
        return [float(str(outcome.figures[figure])) for outcome in self.outcomes]


def recipes(outcomes: Sequence[Outcome], searcher: str) -> list[Recipe]:
    """The finished trials by recipe, the one of the least mean first: the best single seed would be the luckiest.

    In a grid every recipe is tried with the same seeds, and one of which a seed has not finished comes last. Other
    searchers try some with more seeds than others, which says nothing of their quality: there the mean alone counts.
    """
    found: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        settings = {axis: value for axis, value in outcome.trial.settings.items() if axis != "random_seed"}
        found.setdefault(repr(sorted(settings.items())), []).append(outcome)
    grouped = []
    for group in found.values():
        finished = tuple(outcome for outcome in group if outcome.status == "finished")
        if finished:
            grouped.append(Recipe(finished, len(group) - len(finished)))
    return sorted(grouped, key=lambda recipe: (searcher == "grid" and recipe.unfinished > 0, recipe.mean(LEAST)))


def on_shared_seeds(best: Recipe, next_best: Recipe) -> list[tuple[Trial, Trial]]:
    """A trial of each, for every random seed that both have; without that axis all trials have the same."""
    seeds = {outcome.trial.settings.get("random_seed"): outcome.trial for outcome in next_best.outcomes}
    mine = {outcome.trial.settings.get("random_seed"): outcome.trial for outcome in best.outcomes}
    return [(trial, seeds[seed]) for seed, trial in mine.items() if seed in seeds]


def pareto_front(figures: Sequence[Mapping[str, object]]) -> list[int]:
    """Places of the trials that no other is at least as good as in quality and every cost, and better in one."""
    points = np.array([[float(str(found[name])) for name in (LEAST, *COSTS)] for found in figures])
    return [
        place
        for place, point in enumerate(points)
        if not any((other <= point).all() and (other < point).any() for other in points)
    ]


Documents = Mapping[str, tuple[FloatArray, IntArray]]
"""Language -> (documents, 2) nats under two models and (documents,) tokens."""


def paired_difference(seeds: Sequence[Documents], samples: int, seed: int) -> tuple[list[float], float, float]:
    """Mean over languages of log(ppl of the first / ppl of the second) on the same documents, for each random seed, and
    the 95 % interval of the mean over them.

    Of one seed a paired bootstrap over the documents of each language. Of several also what the seeds add, by Student's
    t: of two or three a bootstrap over them would miss the truth in half or a quarter of all cases.
    """
    found = [_drawn_difference(documents, samples, seed) for documents in seeds]
    means = np.array([mean for mean, _ in found])
    # (samples,): documents are drawn alike for all seeds, which were scored on the same ones.
    drawn = np.mean([values for _, values in found], axis=0)
    if len(seeds) == 1:
        low, high = np.percentile(drawn, [2.5, 97.5])
        return means.tolist(), float(low), float(high)
    of_documents = stats.norm.ppf(0.975) * drawn.std()
    of_seeds = stats.t.ppf(0.975, len(seeds) - 1) * means.std(ddof=1) / np.sqrt(len(seeds))
    half, middle = float(np.hypot(of_documents, of_seeds)), float(means.mean())
    return means.tolist(), middle - half, middle + half


def _drawn_difference(documents: Documents, samples: int, seed: int) -> tuple[float, FloatArray]:
    """The difference on all documents, and (samples,) on documents drawn of each language."""
    drawn, means = [], []
    for lang in sorted(documents):
        log_probs, tokens = documents[lang]
        # (samples, 2): both on the same draws, so that what is hard for both cancels.
        values = resampled_log_perplexities(log_probs, tokens, samples, generator(seed, "choose", lang))
        drawn.append(values[:, 0] - values[:, 1])
        whole = -log_probs.sum(axis=0) / tokens.sum()
        means.append(whole[0] - whole[1])
    mean: FloatArray = np.mean(drawn, axis=0)
    return float(np.mean(means)), mean


def comparison(store: Store, best: Recipe, next_best: Recipe) -> JsonObject:
    """Whether the first recipe's ensembles beat the second's: ``clear``, or have ``worse`` perplexity, if the interval
    excludes no difference and all random seeds that both have agree. ``by_seed``: log ratio on each of them. They need
    not have the same dense models, to which their figures are ratios.

    They must have been scored on the same documents; ``clear`` is None, with the ``reason``, where nothing can be said.
    """
    pairs = on_shared_seeds(best, next_best)
    against = (pairs[0][1] if pairs else next_best.outcomes[0].trial).name
    if not pairs:
        return {"against": against, "clear": None, "reason": "no random seed was tried with both"}
    seeds = [documents for pair in pairs if (documents := _same_documents(store, *pair)) is not None]
    if len(seeds) < len(pairs):
        return {"against": against, "clear": None, "reason": "scored on other documents"}
    config = pairs[0][0].config
    means, low, high = paired_difference(seeds, config.evaluation.bootstrap_samples, config.run.seed)
    return {
        "against": against,
        "log_ratio": float(np.mean(means)),
        "low": low,
        "high": high,
        "by_seed": list(means),
        "clear": high < 0 and max(means) < 0,
        "worse": low > 0 and min(means) > 0,
    }


def _same_documents(store: Store, first: Trial, second: Trial) -> Documents | None:
    """Both ensembles on the documents that they were scored on; None where those are not the same."""
    found = _side_by_side(*(evaluation_of(store, trial) for trial in (first, second)))
    if found is None:
        return None
    mine, theirs = found.by_system().values()
    return {lang: (np.stack([mine[lang].log_prob, theirs[lang].log_prob], axis=1), mine[lang].tokens) for lang in mine}


def evaluation_of(store: Store, trial: Trial) -> StageFolder:
    """The evaluation stage of a trial."""
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
