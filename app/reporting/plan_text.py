"""What ``jobs.plan`` prints, from its record."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from app.core.records import JsonObject
from app.core.units import format_bytes, format_count, format_seconds
from app.reporting.tables import text_table

_HOUR = 3600
_WIDTH = 120
_NAME = 10


def plan_text(plan: JsonObject) -> str:
    """Models, then n GPUs, each as a table; then memory, storage, saving, prices, a paragraph each."""
    record: dict[str, Any] = dict(plan)
    on_gpus = record["gpu"] is not None
    notes = [("memory", _memory(record)), ("storage", _storage(record)), ("save", _save(record))]
    notes += [("interval", _interval(record)), ("notice", _notice(record["saving"]))]
    notes += [("prices", _prices(record)), ("not in it", _left_out())] if on_gpus else [("time", _no_time())]
    tables = [_wall(record)] if on_gpus else []
    if "spot" in record:
        tables.append(_spot(record))
        # After "interval" comes what was simulated; the later place first, so that the earlier one still holds.
        notes.insert(4, ("simulated", _simulated(record["spot"])))
    if "reading" in record:
        tables.append(_files(record["reading"]))
        notes.insert(2, ("text", _reading(record["reading"])))
    return "\n\n".join([_seed(record), _models(record), *tables, _paragraphs(notes)])


def _paragraphs(notes: Sequence[tuple[str, str]]) -> str:
    indent = " " * (_NAME + 1)
    return "\n".join(
        textwrap.fill(f"{name:<{_NAME}} {text}", _WIDTH, subsequent_indent=indent, break_on_hyphens=False)
        for name, text in notes
    )


def _seed(plan: dict[str, Any]) -> str:
    seed = plan["seed"]
    return (
        f"{plan['run']}: {seed['model']}, {format_count(seed['parameters'])} parameters ({seed['layers']} layers of"
        f" {seed['width']}, vocabulary {seed['vocabulary']})"
    )


def _models(plan: dict[str, Any]) -> str:
    """Models that are alike share a line."""
    hours = plan.get("gpu_hours") or {}
    alike: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for model in plan["models"]:
        # By steps as well: a dense model with the experts' steps has dense's tokens in fewer of them.
        alike.setdefault((model["tokens"], model["steps"]), []).append(model)
    rows = []
    for group in alike.values():
        first = group[0]
        name = first["name"] if len(group) == 1 else f"{first['name']} and {len(group) - 1} like it, each"
        spent = [f"{hours[first['name']]:.1f}"] if hours else []
        rows.append([name, format_count(first["tokens"]), str(first["steps"]), f"{first['flops']:.2e}", *spent])
    tokens, flops = (sum(model[name] for model in plan["models"]) for name in ("tokens", "flops"))
    spent = [f"{sum(hours.values()):.1f}"] if hours else []
    rows.append(["together", format_count(tokens), "", f"{flops:.2e}", *spent])
    return text_table(["model", "tokens", "steps", "FLOPs", *(["GPU-hours"] if hours else [])], rows)


def _wall(plan: dict[str, Any]) -> str:
    currency = plan["prices"]["currency"]
    header = ["GPUs", "experts alone", "with dense", "the same on spot", f"{currency} on demand", f"{currency} spot"]
    rows = [
        [
            f"{row['gpus']:g}",
            *(format_seconds(row[name] * _HOUR) for name in ("hours_experts", "hours", "hours_spot")),
            *(f"{row[name]:.0f}" for name in ("money_on_demand", "money_spot")),
        ]
        for row in plan["wall"]
    ]
    return text_table(header, rows)


def _spot(plan: dict[str, Any]) -> str:
    """Percentiles over the fleets that were drawn: the experts, and dense on the same machines in step."""
    currency = plan["prices"]["currency"]
    header = ["GPUs on spot", "experts: half", "9 of 10", f"{currency}, half", "dense in step: half", "9 of 10"]
    header.append(f"{currency}, half")
    rows = []
    for row in plan["spot"]["rows"]:
        cells = [f"{row['gpus']:g}"]
        for name in ("experts", "dense_in_step"):
            if row[name] is None:  # not expected to end
                cells += ["never", "never", "–"]
                continue
            hours, spent = row[name]["hours"], row[name]["money"]
            cells += [format_seconds(hours["p50"] * _HOUR), format_seconds(hours["p90"] * _HOUR), f"{spent['p50']:.0f}"]
        rows.append(cells)
    return text_table(header, rows)


def _files(reading: dict[str, Any]) -> str:
    rows = [
        [
            lang,
            str(found["files"]),
            str(found["of"]),
            *(format_bytes(found[f"{name}_bytes"]) for name in ("stored", "text")),
        ]
        for lang, found in reading["languages"].items()
    ]
    together = [sum(found[name] for found in reading["languages"].values()) for name in ("of", "text_bytes")]
    total = [str(reading["files"]), str(together[0]), format_bytes(reading["stored_bytes"]), format_bytes(together[1])]
    return text_table(["language", "files", "of", "as stored", "text, about"], [*rows, ["together", *total]])


def _reading(reading: dict[str, Any]) -> str:
    estimate = (
        f"text is estimated: {reading['text_per_byte']:g} bytes for each of a compressed file (planning.text_per_byte)"
    )
    if reading["needed_bytes"] is None:
        return f"all files are read; {estimate}"
    short = [lang for lang, found in reading["languages"].items() if found["is_short"]]
    lacking = f"; all files of {', '.join(short)} hold less, so they are seen more often" if short else ""
    return (
        f"files are read, by name, until a language has the {format_bytes(reading['needed_bytes'])} that its share of"
        f" the budget needs (corpus.enough_for_budget); {estimate}, and jobs.shard goes by what it finds{lacking}"
    )


def _simulated(spot: dict[str, Any]) -> str:
    found = spot["interval"]
    least = min(found["slowdown"])
    return (
        f"{spot['draws']} fleets drawn for each figure, time within which half and nine of ten end; machines go at"
        f" random and replaced, dense stops on all when one is taken (no cost of communication). Best interval tried:"
        f" {format_seconds(found['best_seconds'])} ({least - 1:.1%} longer than undisturbed); Daly's"
        f" {format_seconds(found['daly_seconds'])} ({found['at_daly'] - 1:.1%})"
    )


def _memory(plan: dict[str, Any]) -> str:
    memory, gpu = plan["memory"], plan["gpu"]
    needed, workers = memory["training_bytes"], memory["workers"]
    each = f", in each of {workers} workers" if workers > 1 else ""
    text = f"{format_bytes(needed)} for weights, gradients and AdamW's moments{each}, beside activations"
    if gpu is None:
        return text
    room = gpu["memory"] * memory["gpu_share"]
    if needed < room:
        return f"{text}, in the {format_bytes(room)} of one {gpu['name']}"
    return (
        f"{text}: DOES NOT FIT the {format_bytes(room)} of one {gpu['name']}; choose another with planning.gpu, or cut"
        " it over several with training.parallelism=fsdp and training.workers_per_expert"
    )


def _storage(plan: dict[str, Any]) -> str:
    storage = plan["storage"]
    held = {name: format_bytes(size) for name, size in storage.items()}
    return (
        f"models {held['models']}, tokens {held['tokens']}, text {held['shards']} (if dense sees all text once):"
        f" {storage['kept_per_month']:.2f} {plan['prices']['currency']} a month; while training, checkpoints of"
        f" {held['checkpoints_of_a_model']} a model, at most {held['checkpoints_at_most']}"
    )


def _save(plan: dict[str, Any]) -> str:
    saving = plan["saving"]
    whence = "measured in this run" if saving["measured"] else "computed from planning.copy_ and save_bytes_per_second"
    return (
        f"{format_bytes(saving['checkpoint_bytes'])} in {format_seconds(saving['save_seconds'])}, training waits for"
        f" {format_seconds(saving['stall_seconds'])} of it ({whence})"
    )


def _interval(plan: dict[str, Any]) -> str:
    saving, checkpoints = plan["saving"], plan.get("checkpoints")
    best, daly, young, between = (
        format_seconds(saving[name])
        for name in ("interval_seconds", "daly_seconds", "young_seconds", "seconds_between_interruptions")
    )
    text = f"best {best} between saves, at one interruption in {between} (Daly {daly}, Young {young})"
    if checkpoints is None:
        return text
    every = format_seconds(checkpoints["steps"] * checkpoints["seconds_per_step"])
    return (
        f"{text}: training.checkpoint_every_steps={checkpoints['best_steps']}, with which spot takes"
        f" {checkpoints['slowdown_at_best'] - 1:.1%} longer; the config's {checkpoints['steps']} steps are {every}:"
        f" {checkpoints['slowdown'] - 1:.1%} longer, about {checkpoints['interruptions']:.0f} interruptions over all"
        f" models, {checkpoints['hours_redone']:.1f} hours of training done again"
    )


def _notice(saving: dict[str, Any]) -> str:
    told = ", ".join(
        f"{cloud} ({notice['seconds']:g} s) {'yes' if notice['fits'] else 'no'}"
        for cloud, notice in saving["notices"].items()
    )
    return f"does a save fit the notice of a cloud? {told}; where not, training goes back to its last periodic save"


def _prices(plan: dict[str, Any]) -> str:
    gpu, prices = plan["gpu"], plan["prices"]
    return (
        f"{gpu['name']} {gpu['on_demand']:g} on demand, {gpu['spot']:g} spot, {prices['currency']} an hour, at"
        f" {gpu['utilisation']:.0%} of {gpu['peak'] / 1e12:g} TFLOP/s ({prices['of']}); put yours into planning.*"
    )


def _left_out() -> str:
    return "tokenizing, evaluation, traffic, the machines' own disks, machines that wait"


def _no_time() -> str:
    return (
        "not forecast: training.gpus_per_expert is 0, and the speed of your CPUs is not known before they have run;"
        " --set training.gpus_per_expert=1 plans for GPUs"
    )
