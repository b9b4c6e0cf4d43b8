"""What a sweep leaves behind: trials as JSON, CSV and parquet, a page, and the configuration to take."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from app.artifacts.ensemble import read_ensemble
from app.artifacts.store import Folder, Store
from app.config.load import resolved
from app.config.schema import Config
from app.core.records import JsonObject
from app.fleet.control import metrics_rows
from app.reporting.html import render_sweep
from app.reporting.sweep import SweepRecords
from app.reporting.tables import change_of_log, text_table
from tune.budget import budget_fit
from tune.choose import Recipe, comparison, pareto_front, recipes
from tune.figures import LEAST, LOWEST
from tune.space import Outcome, axes_of

TRIALS, TABLE, PARQUET, PAGE, CHOSEN = (
    f"sweep/{name}" for name in ("trials.json", "trials.csv", "trials.parquet", "index.html", "chosen.yaml")
)


def told(config: Config, store: Store, outcomes: Sequence[Outcome]) -> JsonObject:
    """Write the sweep's files below its run folder; returns trials, best, front, comparison, and the text to print."""
    run = store.run(config.run.name)
    ranked = recipes(outcomes, config.sweep.searcher)
    finished = [outcome for recipe in ranked for outcome in recipe.outcomes]
    front = [finished[place].trial.name for place in pareto_front([o.figures for o in finished])] if finished else []
    result: JsonObject = {
        "trials": [outcome.entry() for outcome in outcomes],
        "best": {**finished[0].entry(), **_over_seeds(ranked[0])} if finished else None,
        "lowest": _lowest(ranked),
        "front": list(front),
        "budget": budget_fit([outcome.entry() for outcome in finished], config.run.seed),
        "runner_up": comparison(store, *ranked[:2]) if len(ranked) > 1 else None,
        "fewer_seeds": [_fewer_seeds(recipe) for recipe in ranked if recipe.unfinished],
    }
    if finished:
        tree = {**resolved(finished[0].trial.config), "sweep": {}}
        run.write(CHOSEN, yaml.safe_dump(tree, sort_keys=False, allow_unicode=True).encode())
    else:
        # That of an earlier sweep of this name would be taken for this one's.
        run.remove(CHOSEN)
    run.write_json(TRIALS, result)
    _write_tables(run, outcomes)
    records = SweepRecords(
        config.run.name, list(axes_of(config)), result, {o.trial.name: _losses(store, o.trial.name) for o in finished}
    )
    run.write(PAGE, render_sweep(records).encode())
    failed = any(outcome.status != "finished" for outcome in outcomes)
    return {
        **result,
        "page": f"{run.uri}/{PAGE}",
        "ok": not failed,
        "text": _text(
            result, f"{run.uri}/{CHOSEN}" if finished else "none: no trial has finished", f"{run.uri}/{PAGE}"
        ),
    }


def _over_seeds(recipe: Recipe) -> JsonObject:
    """``seeds``: how many random seeds of the recipe have finished, mean, least and most of the figure; if several."""
    values = recipe.values(LEAST)
    if len(values) == 1:
        return {}
    return {"seeds": {"count": len(values), "mean": recipe.mean(LEAST), "least": min(values), "most": max(values)}}


def _fewer_seeds(recipe: Recipe) -> JsonObject:
    return {
        "run": recipe.outcomes[0].trial.name,
        "unfinished": recipe.unfinished,
        "of": recipe.unfinished + len(recipe.outcomes),
    }


def _lowest(ranked: Sequence[Recipe]) -> JsonObject | None:
    """The trial of the recipe with the lowest perplexity, where another has the best ratio to its own dense model."""
    if not ranked:
        return None
    lowest = min(ranked, key=lambda recipe: recipe.mean(LOWEST))
    if lowest is ranked[0]:
        return None
    change = lowest.mean(LOWEST) - ranked[0].mean(LOWEST)
    why = (
        f"not taken, as {lowest.unfinished} of its random seeds did not finish"
        if lowest.unfinished
        else "whose own dense model is weaker"
    )
    return {"run": lowest.outcomes[0].trial.name, "log_ratio_to_best": change, "why": why}


def _losses(store: Store, run: str) -> list[tuple[float, float]]:
    """(tokens, loss) of a run, both means over its experts at equal shares of their training.

    Each logs at moments of its own, and their budgets may differ: between its points its loss is a straight line. From
    the share on that all of them have logged; empty where one has logged nothing.
    """
    models = [expert.model for expert in read_ensemble(store.run(run), "").experts if not expert.round]
    logged = [
        np.array([[float(str(row["tokens_seen"])), float(str(row["loss"]))] for row in metrics_rows(stage)])
        for stage in (store.stage("model", model) for model in models)
    ]
    if not all(len(points) for points in logged):
        return []
    shares = [points[:, 0] / points[-1, 0] for points in logged]
    at = np.unique(np.concatenate(shares))
    at = at[at >= max(share[0] for share in shares)]
    losses = [np.interp(at, share, points[:, 1]) for share, points in zip(shares, logged, strict=True)]
    tokens = at * float(np.mean([points[-1, 0] for points in logged]))
    return list(zip(tokens.tolist(), np.mean(losses, axis=0).tolist(), strict=True))


def _write_tables(run: Folder, outcomes: Sequence[Outcome]) -> None:
    rows = [_flat(outcome.entry()) for outcome in outcomes]
    # A trial that failed has fewer columns: all that occur, in the order of their first row.
    names = list(dict.fromkeys(name for row in rows for name in row))
    sink = io.StringIO()
    # By itself csv ends lines with \r\n.
    writer = csv.DictWriter(sink, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    run.write(TABLE, sink.getvalue().encode())
    columns = {name: [row.get(name) for row in rows] for name in names}
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, compression="zstd")
    run.write(PARQUET, buffer.getvalue())


def _flat(entry: JsonObject) -> dict[str, object]:
    """The settings of a trial as columns of their own."""
    settings = entry["config"]
    assert isinstance(settings, dict)
    return {**{name: value for name, value in entry.items() if name != "config"}, **settings}


def _text(result: JsonObject, chosen: str, page: str) -> str:
    trials, best, runner_up = result["trials"], result["best"], result["runner_up"]
    assert isinstance(trials, list)
    rows = []
    for entry in trials:
        assert isinstance(entry, dict)
        change = change_of_log(float(str(entry[LEAST]))) if LEAST in entry else str(entry.get("reason", ""))[:60]
        wins = f"{entry['wins']}/{entry['languages']}" if "wins" in entry else ""
        settings = entry["config"]
        assert isinstance(settings, dict)
        rows.append(
            [" ".join(f"{name}={value}" for name, value in settings.items()), str(entry["status"]), change, wins]
        )
    lines = [text_table(["trial", "status", "mean change", "wins"], rows)]
    if isinstance(best, dict):
        lines.append(f"best     {best['run']}: {change_of_log(float(str(best[LEAST])))} against its dense model")
        if isinstance(seeds := best.get("seeds"), dict):
            mean, least, most = (change_of_log(float(str(seeds[name]))) for name in ("mean", "least", "most"))
            lines.append(f"         mean of {seeds['count']} random seeds {mean}, from {least} to {most}")
    if isinstance(runner_up, dict):
        lines.append(f"         {_verdict(runner_up)}")
    fewer = result["fewer_seeds"]
    assert isinstance(fewer, list)
    for entry in fewer:
        assert isinstance(entry, dict)
        lines.append(f"seeds    {entry['run']}: {entry['unfinished']} of {entry['of']} random seeds did not finish")
    if isinstance(lowest := result["lowest"], dict):
        change = change_of_log(float(str(lowest["log_ratio_to_best"])))
        lines.append(f"lowest   {lowest['run']}: perplexity {change} against the best, {lowest['why']}")
    return "\n".join([*lines, f"config   {chosen}", f"page     {page}"])


def _verdict(runner_up: JsonObject) -> str:
    """Whether the best beats the next, or why nobody can say."""
    if runner_up["clear"] is None:
        return f"nothing can be said against {runner_up['against']}: {runner_up['reason']}"
    says = "beats" if runner_up["clear"] else "does not clearly beat"
    says = "HAS A CLEARLY HIGHER perplexity than" if runner_up["worse"] else says
    low, high = (change_of_log(float(str(runner_up[name]))) for name in ("low", "high"))
    by_seed = runner_up["by_seed"]
    assert isinstance(by_seed, list)
    better = sum(float(str(change)) < 0 for change in by_seed)
    seeds = f", better with {better} of {len(by_seed)} random seeds" if len(by_seed) > 1 else ""
    return f"it {says} {runner_up['against']}: [{low}, {high}] on the same documents{seeds}"
