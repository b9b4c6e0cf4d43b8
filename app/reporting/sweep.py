"""The page of a sweep: trials, heat maps of k and strategy, what quality costs, and losses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from app.core.records import JsonObject
from app.core.units import format_count, format_seconds
from app.reporting.cells import Cell, Picture, Section, Table, mapping, number, sequence
from app.reporting.plots import cost_plot, loss_plot
from app.reporting.tables import change_of_log

_QUALITY, _WORST = "mean_log_ratio", "worst_log_ratio"
_DEEPEST = 0.1
"""Log ratio at which a cell of a heat map has its full colour."""


@dataclass(frozen=True)
class SweepRecords:
    """A sweep: its name, its axes, what ``tune.sweep`` found (``trials``, ``best``, ``front``, ``runner_up``), and
    run -> (tokens, loss) of its experts.
    """

    name: str
    axes: Sequence[str]
    found: JsonObject
    losses: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)


def sweep_sections(records: SweepRecords) -> list[Section]:
    """The page's sections; those with nothing to say are left out."""
    trials = [mapping(entry) for entry in sequence(records.found["trials"])]
    finished = [entry for entry in trials if entry.get("status") == "finished"]
    found = [
        _trials(records, trials),
        _heat_maps(records.axes, finished),
        _costs(finished, [str(name) for name in sequence(records.found["front"])]),
        _budget(mapping(records.found.get("budget"))),
        _losses(records.losses),
    ]
    return [section for section in found if section is not None]


def sweep_headline(records: SweepRecords) -> str:
    """One sentence: how many trials, and the best."""
    trials, best = sequence(records.found["trials"]), mapping(records.found["best"])
    if not best:
        return f"{len(trials)} trials, none finished"
    told = f"{len(trials)} trials; best {best['run']}: {change_of_log(float(best[_QUALITY]))} against its dense model"
    seeds, lowest = best.get("seeds"), records.found.get("lowest")
    if seeds:
        told += f", mean of {seeds['count']} random seeds {change_of_log(float(seeds['mean']))}"
    if lowest:
        change = change_of_log(float(mapping(lowest)["log_ratio_to_best"]))
        told += f"; {mapping(lowest)['run']} has the lowest perplexity, {change} against the best"
    return told


def _trials(records: SweepRecords, trials: Sequence[Mapping[str, object]]) -> Section:
    header = [*records.axes, "status", "mean change", "worst language", "wins", "experts a token", "active parameters"]
    rows = []
    for entry in trials:
        settings = mapping(entry["config"])
        cells = [Cell(str(settings.get(axis, ""))) for axis in records.axes]
        if entry["status"] != "finished":
            reason = str(entry.get("reason", ""))
            rows.append([*cells, Cell(str(entry["status"])), Cell(reason, "text"), *(Cell("") for _ in range(4))])
            continue
        low, high = (change_of_log(float(str(entry[name]))) for name in ("low", "high"))
        cells += [
            Cell("finished"),
            Cell(f"{change_of_log(float(str(entry[_QUALITY])))} [{low}, {high}]"),
            Cell(f"{entry['worst_language']} {change_of_log(float(str(entry[_WORST])))}"),
            Cell(f"{entry['wins']}/{entry['languages']}"),
            Cell(f"{float(str(entry['experts_per_token'])):.2f}"),
            Cell(format_count(float(str(entry["active_parameters"])))),
        ]
        rows.append(cells)
    notes = [
        "Mean change of perplexity of the ensemble against the dense model of the same settings, languages not told,"
        " with the 95 % interval over held-out documents of one training seed each."
    ]
    return Section("Trials", [Table(header, rows)], notes)


def _heat_maps(axes: Sequence[str], finished: Sequence[Mapping[str, object]]) -> Section | None:
    """k by strategy, where both were tried: the mean over trials that differ in something else."""
    if not {"k", "strategy"} <= set(axes) or not finished:
        return None
    tables = [
        _heat_map(finished, figure, caption)
        for figure, caption in ((_QUALITY, "Mean change"), (_WORST, "Change of the worst language"))
    ]
    return Section("k and strategy", tables, ["Green is lower perplexity than dense, red higher."])


def _heat_map(finished: Sequence[Mapping[str, object]], figure: str, caption: str) -> Table:
    held: dict[tuple[str, int], list[float]] = {}
    for entry in finished:
        settings = mapping(entry["config"])
        held.setdefault((str(settings["strategy"]), int(settings["k"])), []).append(float(str(entry[figure])))
    strategies, ks = sorted({place[0] for place in held}), sorted({place[1] for place in held})
    rows = [[Cell(name), *(_heat_cell(held.get((name, k), [])) for k in ks)] for name in strategies]
    return Table(["strategy", *(f"k = {k}" for k in ks)], rows, caption)


def _heat_cell(values: Sequence[float]) -> Cell:
    if not values:
        return Cell("")
    mean = sum(values) / len(values)
    depth = min(1.0, abs(mean) / _DEEPEST)
    colour = f"rgba({'0, 158, 115' if mean < 0 else '213, 94, 0'}, {0.08 + 0.4 * depth:.2f})"
    return Cell(change_of_log(mean), style=f"background: {colour}")


def _costs(finished: Sequence[Mapping[str, object]], front: Sequence[str]) -> Section | None:
    # One trial alone is beaten by none.
    if len(finished) < 2:
        return None
    points = [
        (
            str(entry["run"]),
            float(str(entry["active_parameters"])),
            100 * math.expm1(float(str(entry[_QUALITY]))),
            str(entry["run"]) in front,
        )
        for entry in finished
    ]
    rows = [
        [Cell(str(entry["run"])), Cell(format_seconds(number(entry.get("training_seconds")) or 0.0))]
        for entry in finished
        if entry["run"] in front
    ]
    notes = [
        "On the front: no other trial is as good in quality, active parameters and training time, and better in one."
    ]
    picture = Picture(cost_plot(points), "Mean change against the parameters that run for a token")
    return Section("What quality costs", [Table(["on the front", "training time"], rows)], notes, [picture])


def _budget(fit: Mapping[str, object]) -> Section | None:
    """The best k by budget, by the fit of ``tune.budget``."""
    if not fit:
        return None
    if "reason" in fit:
        return Section("k and budget", notes=[f"No fit: {fit['reason']}."])
    rows = []
    for place in (mapping(entry) for entry in sequence(fit["at"])):
        found, low, high = (change_of_log(float(str(place[name]))) for name in (_QUALITY, "low", "high"))
        between = "" if place["k_low"] == place["k_high"] else f" ({place['k_low']} to {place['k_high']})"
        rows.append(
            [
                Cell(format_count(float(str(place["budget_tokens"])))),
                Cell(f"{place['k']}{between}"),
                Cell(f"{float(str(place['share'])):.0%}"),
                Cell(f"{found} [{low}, {high}]"),
                Cell("extrapolated: nothing of this size was tried" if place["extrapolated"] else "tried", "text"),
            ]
        )
    notes = [
        "For each k a line of log(ppl / ppl(dense)) against the logarithm of the budget, over trials that may differ in"
        " something else; in brackets the middle 95 % of refits with errors of the documents' and the line's size."
    ]
    header = ["budget", "best k", "best in", "mean change", "from"]
    return Section("k and budget", [Table(header, rows)], notes)


def _losses(losses: Mapping[str, Sequence[tuple[float, float]]]) -> Section | None:
    shown = {name: points for name, points in losses.items() if points}
    if not shown:
        return None
    notes = ["Loss of each trial's experts against the tokens that each has seen: the mean over its experts."]
    return Section("Loss", notes=notes, pictures=[Picture(loss_plot(shown), "Loss against tokens by trial")])
