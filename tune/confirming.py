"""Does the best recipe hold? Chosen on one half of the documents with one random seed, reported on the other half with
fresh ones, against a dense model that was given the same search.

The search is a sweep (``tune.run``). Of its trials one ensemble and one dense model have the lowest perplexity on the
first half, mostly not of the same trial; both are trained anew for each of ``sweep.fresh_seeds``, everything that is
drawn at random made anew, and compared on the second half.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from app.artifacts.store import Store
from app.config.schema import Config
from app.core.errors import ConfigError, TrainingError
from app.core.records import JsonObject
from app.evaluation.document_rows import open_rows
from app.evaluation.systems import DENSE, ENSEMBLE, SEED
from app.evaluation.totals import LanguageTotals, Totals
from app.evaluation.win_rate import compare, headline
from app.reporting.tables import change_of_log, text_table
from tune.choose import evaluation_of, paired_difference
from tune.halves import half_of
from tune.run import run_sweep, run_trials
from tune.space import Outcome, Setting, Trial, axes_of, trial_of

FILE = "sweep/confirmed.json"
CHOOSES, REPORTS = 0, 1
"""Halves of the documents."""
_EQUAL_FOR_BOTH = ("budget_tokens", "seed_width")
_OF_THE_CUT = ("k", "strategy")
_OF_EVALUATION = ("weighting", "temperature", "power", "top_m")

ByLanguage = Mapping[str, LanguageTotals]


@dataclass(frozen=True)
class Chosen:
    """The trials whose ensemble and whose dense model have the lowest perplexity on the first half."""

    ensemble: Trial
    dense: Trial

    def fresh(self, config: Config, seed: int) -> tuple[Trial, Trial]:
        """Both recipes with another random seed; one trial where the dense models are of one recipe."""
        mine = trial_of(config, {**self.ensemble.settings, "random_seed": seed})
        if _of_dense(self.dense) == _of_dense(self.ensemble):
            return mine, mine
        # Its one expert is the dense model, so no other is trained. Whole languages: no documents need to be assigned.
        cut: dict[str, Setting] = {"k": 1, "strategy": "typological"}
        return mine, trial_of(config, {**cut, **_of_dense(self.dense), "random_seed": seed})


def confirmed(config: Config, store: Store) -> JsonObject:
    """Search, choose, train anew, compare; kept in the sweep's run folder, with the text to print.

    ``chosen``: settings of ``ensemble`` and ``dense``. ``by_seed``: for each fresh seed the headline of
    ``app.evaluation.win_rate``; ``mean_log_ratio`` with the 95 % interval over documents and seeds, and least ``wins``.
    ``chooser``: the same comparison with the seed that chose, on the half that chose and on the other.
    Raises ConfigError for what cannot be searched so, TrainingError where a trial of a fresh seed has failed.
    """
    _refuse_unfair(config)
    searched = [outcome for outcome in run_sweep(config, store) if outcome.status == "finished"]
    if not searched:
        raise TrainingError("no trial of the search has finished; the log says why, and the same command tries again")
    chosen = choose(store, searched)
    pairs = {seed: chosen.fresh(config, seed) for seed in config.sweep.fresh_seeds}
    trials = {trial.name: trial for pair in pairs.values() for trial in pair}
    for outcome in run_trials(config, store, list(trials.values())):
        if outcome.status != "finished":
            raise TrainingError(f"{outcome.trial.name} is not trained: {outcome.reason}; the same command tries again")
    result = {**_record(config, store, chosen, pairs), "searched": len(searched)}
    store.run(config.run.name).write_json(FILE, result)
    return {**result, "text": _text(result)}


def choose(store: Store, searched: Sequence[Outcome]) -> Chosen:
    """Of finished trials, by the mean over languages of the log perplexity on the first half; of equals the first."""
    trials = [outcome.trial for outcome in searched]
    ensembles, denses = (
        min(trials, key=lambda trial: _mean_log_perplexity(totals(store, trial, system, CHOOSES)))
        for system in (ENSEMBLE, DENSE)
    )
    return Chosen(ensembles, denses)


def totals(store: Store, trial: Trial, system: str, half: int) -> dict[str, LanguageTotals]:
    """Language -> what a system of a finished trial gives the documents of one half."""
    found = Totals()
    columns = ("doc_id", "lang", "tokens", "bytes", system)
    with open_rows(evaluation_of(store, trial)) as rows:
        groups = list(rows.groups(columns))
    names, langs, tokens, sizes, nats = (np.concatenate([group[name] for group in groups]) for name in columns)
    places = half_of(names.tolist(), langs.tolist(), half)
    found.add(langs[places].tolist(), tokens[places], sizes[places], {system: nats[places]})
    return found.by_system()[system]


def _record(
    config: Config, store: Store, chosen: Chosen, pairs: Mapping[int, tuple[Trial, Trial]]
) -> dict[str, JsonObject | float | list[JsonObject]]:
    samples, drawn_by = config.evaluation.bootstrap_samples, config.run.seed
    sides = {seed: _sides(store, *pair, REPORTS) for seed, pair in pairs.items()}
    documents = [
        {
            lang: (np.stack([side[ENSEMBLE][lang].log_prob, side[DENSE][lang].log_prob], axis=1), mine.tokens)
            for lang, mine in side[ENSEMBLE].items()
        }
        for side in sides.values()
    ]
    means, low, high = paired_difference(documents, samples, drawn_by)
    by_seed: list[JsonObject] = [
        {"random_seed": seed, **headline(compare(side, {}, samples, drawn_by), ENSEMBLE)}
        for seed, side in sides.items()
    ]
    chooser: JsonObject = {
        name: headline(compare(_sides(store, chosen.ensemble, chosen.dense, half), {}, samples, drawn_by), ENSEMBLE)
        for name, half in (("half_that_chose", CHOOSES), ("other_half", REPORTS))
    }
    return {
        "chosen": {"ensemble": dict(chosen.ensemble.settings), "dense": dict(_of_dense(chosen.dense))},
        "by_seed": by_seed,
        "mean_log_ratio": float(np.mean(means)),
        "low": low,
        "high": high,
        "wins": min(int(str(found["wins_over_dense"])) for found in by_seed),
        "chooser": chooser,
    }


def _sides(store: Store, ensemble: Trial, dense: Trial, half: int) -> dict[str, dict[str, LanguageTotals]]:
    """System -> language -> totals: the ensemble and the seed of one trial, the dense model of another.

    Raises ConfigError if they were not scored on the same documents.
    """
    mine = {system: totals(store, ensemble, system, half) for system in (ENSEMBLE, SEED)}
    theirs = totals(store, dense, DENSE, half)
    tokens = [{lang: part.tokens.tolist() for lang, part in side.items()} for side in (mine[ENSEMBLE], theirs)]
    if tokens[0] != tokens[1]:
        raise ConfigError(f"{ensemble.name} and {dense.name} were scored on other documents; give both one corpus")
    return {**mine, DENSE: theirs}


def _refuse_unfair(config: Config) -> None:
    tried, fresh = axes_of(config), config.sweep.fresh_seeds
    if not fresh:
        raise ConfigError("no fresh random seed is named; give some, e.g. --set sweep.fresh_seeds=1,2,3")
    if "random_seed" in tried or config.run.seed in fresh:
        raise ConfigError(
            f"the recipe is chosen with one random seed, run.seed={config.run.seed}, and confirmed with others:"
            " take sweep.random_seed out, and run.seed out of sweep.fresh_seeds"
        )
    for name in set(tried) & set(_EQUAL_FOR_BOTH):
        raise ConfigError(f"sweep.{name} would give ensemble and dense model unlike ones; confirm at one, without it")


def _of_dense(trial: Trial) -> dict[str, Setting]:
    """What of a trial's settings its dense model depends on."""
    return {name: value for name, value in trial.settings.items() if name not in (*_OF_THE_CUT, *_OF_EVALUATION)}


def _mean_log_perplexity(found: ByLanguage) -> float:
    return float(np.mean([part.nats_per_token for part in found.values()]))


def _text(result: Mapping[str, object]) -> str:
    by_seed, chosen, chooser = result["by_seed"], result["chosen"], result["chooser"]
    assert isinstance(by_seed, list) and isinstance(chosen, dict) and isinstance(chooser, dict)
    rows = [[f"random seed {found['random_seed']}, other half", *_cells(found)] for found in by_seed]
    rows += [[f"the seed that chose, {name.replace('_', ' ')}", *_cells(found)] for name, found in chooser.items()]
    low, high = (change_of_log(float(str(result[name]))) for name in ("low", "high"))
    recipes = [
        f"{side:<9}{' '.join(f'{name}={value}' for name, value in settings.items())}"
        for side, settings in chosen.items()
    ]
    mean, wins = change_of_log(float(str(result["mean_log_ratio"]))), result["wins"]
    return "\n".join(
        [
            *recipes,
            text_table(["ensemble against dense", "mean change", "95 % interval", "wins", "clear"], rows),
            f"mean of {len(by_seed)} fresh random seeds: {mean} [{low}, {high}], each with {wins} wins or more",
        ]
    )


def _cells(found: Mapping[str, object]) -> list[str]:
    mean, low, high = (
        change_of_log(float(str(found[f"mean_log_perplexity_ratio{end}"]))) for end in ("", "_low", "_high")
    )
    wins = f"{found['wins_over_dense']}/{found['languages_compared']}"
    return [mean, f"[{low}, {high}]", wins, str(found["clear_wins_over_dense"])]
