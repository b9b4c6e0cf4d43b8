"""Does the best recipe hold? Chosen on one half of the documents with one random seed, reported on the other half with
fresh ones, against a dense model that was given the same search.

The search is a sweep (``tune.run``). Of its trials one ensemble and one dense model have the lowest perplexity on the
first half, mostly not of the same trial; both are trained anew for each of ``sweep.fresh_seeds``, everything that is
drawn at random made anew, and compared on the second half.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from app.artifacts.store import Store
from app.config.schema import Config
from app.config.training import BaselineConfig
from app.core.errors import ConfigError, TrainingError
from app.core.records import JsonObject, JsonValue
from app.evaluation.document_rows import open_rows
from app.evaluation.systems import DENSE, ENSEMBLE, SEED
from app.evaluation.totals import LanguageTotals, Totals
from app.evaluation.win_rate import LEAST_DOCUMENTS, compare, headline
from app.reporting.tables import change_of_log, text_table
from tune.choose import evaluation_of, paired_difference
from tune.halves import half_of
from tune.run import run_sweep, run_trials
from tune.space import Outcome, Setting, Trial, axes_of, planned_settings, trial_of

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
        # Its one expert, of whole languages, is the dense model: no other is trained.
        cut: dict[str, Setting] = {"k": 1, "strategy": "typological"}
        return mine, trial_of(config, {**cut, **_of_dense(self.dense), "random_seed": seed})


def confirmed(config: Config, store: Store) -> JsonObject:
    """Search, choose, train anew, compare; kept in the sweep's run folder, with the text to print. ``ok``: no trial of
    the search has failed.

    ``chosen``: settings of ``ensemble`` and ``dense``. ``by_seed``: for each fresh seed the headline of
    ``app.evaluation.win_rate``; ``mean_log_ratio`` with the 95 % interval over documents and seeds, and least ``wins``.
    ``chooser``: the same comparison with the seed that chose, on the half that chose and on the other. ``failed``:
    trials of the search, with the reason. ``left_out``: see the function.
    Raises ConfigError for what cannot be searched so, TrainingError where a trial of a fresh seed has failed.
    """
    refuse_unfair(config)
    outcomes = run_sweep(config, store)
    searched = [outcome for outcome in outcomes if outcome.status == "finished"]
    if not searched:
        raise TrainingError("no trial of the search has finished; the log says why, and the same command tries again")
    chosen = choose(store, searched)
    pairs = {seed: chosen.fresh(config, seed) for seed in config.sweep.fresh_seeds}
    trials = {trial.name: trial for pair in pairs.values() for trial in pair}
    for outcome in run_trials(config, store, list(trials.values())):
        if outcome.status != "finished":
            raise TrainingError(f"{outcome.trial.name} is not trained: {outcome.reason}")
    result: JsonObject = {
        **_record(config, store, chosen, pairs),
        "searched": len(searched),
        "failed": {outcome.trial.name: outcome.reason for outcome in outcomes if outcome.status != "finished"},
    }
    store.run(config.run.name).write_json(FILE, result)
    return {**result, "ok": not result["failed"], "text": _text(result)}


def foreseen_trials(config: Config) -> list[Trial]:
    """What ``confirmed`` runs at most: the search, and for each fresh seed an ensemble and a dense model of its own."""
    refuse_unfair(config)
    searched = [trial_of(config, settings) for settings in planned_settings(config)]
    # Which are chosen is not known yet; one dense model apart from the ensemble's is the most that there may be.
    pair = Chosen(searched[0], searched[-1])
    fresh = [trial for seed in config.sweep.fresh_seeds for trial in pair.fresh(config, seed)]
    return list({trial.name: trial for trial in [*searched, *fresh]}.values())


def choose(store: Store, searched: Sequence[Outcome]) -> Chosen:
    """Of finished trials, by the mean over languages of the log perplexity on the first half; of equals the first."""
    trials = [outcome.trial for outcome in searched]
    ensembles, denses = (
        min(trials, key=lambda trial: _mean_log_perplexity(totals(store, trial, system, CHOOSES)))
        for system in (ENSEMBLE, DENSE)
    )
    return Chosen(ensembles, denses)


def totals(store: Store, trial: Trial, system: str, half: int) -> dict[str, LanguageTotals]:
    """Language -> what a system of a finished trial gives the documents of one half; a language of a single document
    has no halves and is in neither.

    Raises ConfigError where that leaves none.
    """
    found = Totals()
    columns = ("doc_id", "lang", "tokens", "bytes", system)
    with open_rows(evaluation_of(store, trial)) as rows:
        groups = list(rows.groups(columns))
    names, langs, tokens, sizes, nats = (np.concatenate([group[name] for group in groups]) for name in columns)
    counted = Counter(langs.tolist())
    if max(counted.values()) < 2:
        raise ConfigError(
            f"{trial.name} was scored on one document a language, which has no halves; raise"
            " evaluation.max_documents_per_language, or bring more held-out text"
        )
    places = [place for place in half_of(names.tolist(), langs.tolist(), half) if counted[langs[place]] > 1]
    found.add(langs[places].tolist(), tokens[places], sizes[places], {system: nats[places]})
    return found.by_system()[system]


def left_out(store: Store, trial: Trial) -> list[str]:
    """Languages of a finished trial that are in neither half, since they have a single document."""
    with open_rows(evaluation_of(store, trial)) as rows:
        counted = Counter(lang for group in rows.groups(["lang"]) for lang in group["lang"].tolist())
    return sorted(lang for lang, documents in counted.items() if documents == 1)


def _record(config: Config, store: Store, chosen: Chosen, pairs: Mapping[int, tuple[Trial, Trial]]) -> JsonObject:
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

    def figures(side: dict[str, dict[str, LanguageTotals]]) -> JsonObject:
        enough = any(part.documents >= LEAST_DOCUMENTS for part in side[ENSEMBLE].values())
        return {**headline(compare(side, {}, samples, drawn_by), ENSEMBLE), "can_be_clear": enough}

    by_seed = [{"random_seed": seed, **figures(side)} for seed, side in sides.items()]
    chooser: JsonObject = {
        name: figures(_sides(store, chosen.ensemble, chosen.dense, half))
        for name, half in (("half_that_chose", CHOOSES), ("other_half", REPORTS))
    }
    return {
        "chosen": {"ensemble": dict(chosen.ensemble.settings), "dense": dict(_of_dense(chosen.dense))},
        "by_seed": list[JsonValue](by_seed),
        "mean_log_ratio": float(np.mean(means)),
        "low": low,
        "high": high,
        "wins": min(int(str(found["wins_over_dense"])) for found in by_seed),
        "chooser": chooser,
        "left_out": list[JsonValue](left_out(store, chosen.ensemble)),
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


def refuse_unfair(config: Config) -> None:
    """Raise ConfigError for a search that could not be confirmed so, or would not be the same for both sides."""
    tried, fresh = axes_of(config), config.sweep.fresh_seeds
    if not fresh:
        raise ConfigError("no fresh random seed is named; give some, e.g. --set sweep.fresh_seeds=1,2,3")
    if "random_seed" in tried or config.run.seed in fresh:
        raise ConfigError(
            f"the recipe is chosen with one random seed, run.seed={config.run.seed}, and confirmed with others:"
            " take sweep.random_seed out, and run.seed out of sweep.fresh_seeds"
        )
    if config.sweep.searcher == "optuna":
        raise ConfigError(
            "sweep.searcher=optuna looks at all documents, those that report too, and at the ratio to each trial's own"
            " dense model; use grid or random"
        )
    if config.baselines[DENSE] != BaselineConfig():
        raise ConfigError("the dense model's settings are searched here; take baselines.dense out")
    for name in set(tried) & set(_EQUAL_FOR_BOTH):
        raise ConfigError(f"sweep.{name} would give ensemble and dense model unlike ones; confirm at one, without it")


def _of_dense(trial: Trial) -> dict[str, Setting]:
    """What of a trial's settings its dense model depends on."""
    return {name: value for name, value in trial.settings.items() if name not in (*_OF_THE_CUT, *_OF_EVALUATION)}


def _mean_log_perplexity(found: ByLanguage) -> float:
    return float(np.mean([part.nats_per_token for part in found.values()]))


def _text(result: Mapping[str, object]) -> str:
    by_seed, chosen, chooser, failed = (result[name] for name in ("by_seed", "chosen", "chooser", "failed"))
    assert isinstance(by_seed, list) and isinstance(chosen, dict)
    assert isinstance(chooser, dict) and isinstance(failed, dict)
    rows = [[f"random seed {found['random_seed']}, other half", *_cells(found)] for found in by_seed]
    rows += [[f"the seed that chose, {name.replace('_', ' ')}", *_cells(found)] for name, found in chooser.items()]
    low, high = (change_of_log(float(str(result[name]))) for name in ("low", "high"))
    recipes = [
        f"{side:<9}{' '.join(f'{name}={value}' for name, value in settings.items())}"
        for side, settings in chosen.items()
    ]
    mean, wins = change_of_log(float(str(result["mean_log_ratio"]))), result["wins"]
    unsaid = [f"failed   {name}: {reason}" for name, reason in failed.items()]
    alone = result["left_out"]
    if isinstance(alone, list) and alone:
        unsaid.append(f"left out {', '.join(map(str, alone))}: a single document, which has no halves")
    return "\n".join(
        [
            *recipes,
            f"searched {result['searched']} of {int(str(result['searched'])) + len(failed)} trials",
            text_table(["ensemble against dense", "mean change", "95 % interval", "wins", "clear"], rows),
            f"mean of {len(by_seed)} fresh random seeds: {mean} [{low}, {high}], each with {wins} wins or more",
            *unsaid,
        ]
    )


def _cells(found: Mapping[str, object]) -> list[str]:
    mean, low, high = (
        change_of_log(float(str(found[f"mean_log_perplexity_ratio{end}"]))) for end in ("", "_low", "_high")
    )
    wins = f"{found['wins_over_dense']}/{found['languages_compared']}"
    clear = str(found["clear_wins_over_dense"]) if found["can_be_clear"] else "–"
    return [mean, f"[{low}, {high}]", wins, clear]
