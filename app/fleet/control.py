"""Looking at a run and stopping it, from its folder alone: no cluster, no corpus."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping

from app.artifacts.layout import DRIVER, FLEET, LEASE, METRICS, STOP
from app.artifacts.lease import is_alive, read_holder
from app.artifacts.store import Folder, StageFolder, Store
from app.config.schema import Config
from app.core.errors import MissingArtifact, Preempted
from app.core.records import JsonObject, JsonValue
from app.core.units import format_count, format_seconds
from app.reporting.tables import text_table
from app.training.progress import training_progress

_COLUMNS = ("model", "state", "step", "tokens", "tokens/s", "loss", "host", "preempted", "failed", "lost", "seen")


def request_stop(config: Config, store: Store) -> JsonObject:
    """Ask whatever trains this run to save and end at its next step."""
    run = store.run(config.run.name)
    reason = f"jobs.stop at {time.strftime('%Y-%m-%d %H:%M:%S')}"
    run.write_json(STOP, {"reason": reason})
    return {"asked": f"{run.uri}/{STOP}", "reason": reason}


def obey_stop(run: Folder) -> None:
    """Raise Preempted if a stop was asked for in this folder: for work between two trainings."""
    if run.exists(STOP):
        raise Preempted(f"{run.read_json(STOP)['reason']}; run the same command again to continue")


def run_status(config: Config, store: Store) -> JsonObject:
    """Each model of the run: state, step, speed, loss, host, preemptions, time lost. Raises MissingArtifact."""
    run = store.run(config.run.name)
    if not run.exists(FLEET):
        raise MissingArtifact(f"{run.uri} holds no {FLEET}: nothing has been trained under run.name={config.run.name}")
    models: JsonObject = {
        name: model_status(store, entry) for name, entry in run.read_json(FLEET).items() if isinstance(entry, dict)
    }
    driver, said = driver_status(run)
    for status in models.values():
        # A driver that was killed has left its last word in the record.
        if isinstance(status, dict) and status["state"] in ("running", "waiting") and not driver["alive"]:
            status["state"] = "stopped"
    rows = [_row(name, status) for name, status in models.items() if isinstance(status, dict)]
    return {"driver": driver, "models": models, "text": f"{text_table(_COLUMNS, rows)}\n{said}"}


def driver_status(run: Folder) -> tuple[JsonObject, str]:
    """Who works on the run, as a record with ``alive`` and as a sentence."""
    holder = read_holder(run, DRIVER)
    if holder is None:
        return {"alive": False}, "no job works on this run now"
    who = f"{holder['what']} on {holder['host']} (process {holder['pid']})"
    since = format_seconds(max(0.0, time.time() - float(str(holder["time"]))))
    if is_alive(holder):
        return {**holder, "alive": True}, f"{who} works on this run, heard {since} ago"
    return {**holder, "alive": False}, f"{who} is dead, last heard {since} ago; run the same command again to go on"


def model_status(store: Store, entry: Mapping[str, JsonValue]) -> JsonObject:
    """One model's status from its entry in ``fleet.json`` and its folder in the store."""
    stage = store.stage("model", str(entry["key"]))
    status: JsonObject = {name: entry[name] for name in ("key", "state", "preemptions", "failures", "reason")}
    # The driver may have died between the end of the model and its own record of it.
    if stage.is_complete:
        status["state"] = "done"
    if stage.exists(LEASE):
        status["host"] = stage.read_json(LEASE).get("host")
    if (progress := training_progress(metrics_rows(stage))) is not None:
        status |= {
            "step": progress.step,
            "tokens_seen": progress.tokens_seen,
            "tokens_per_second": progress.tokens_per_second,
            "loss": progress.loss,
            "attempts": progress.attempts,
            "seconds_lost": progress.seconds_lost,
            "wall_seconds": progress.wall_seconds,
            "worker_seconds": progress.worker_seconds,
            "seconds_since_last_step": time.time() - progress.time,
        }
    return status


def metrics_rows(model: StageFolder) -> list[JsonObject]:
    """The rows of a model's metrics so far; a line torn by a kill is left out."""
    lines = model.read(METRICS).splitlines() if model.exists(METRICS) else []
    # Rows are flat, so only a whole one ends with a brace.
    return [json.loads(line) for line in lines if line.endswith(b"}")]


def _row(name: str, status: JsonObject) -> list[str]:
    def shown(field: str, form: str = "{}") -> str:
        value = status.get(field)
        return "–" if value is None else form.format(value)

    def counted(field: str) -> str:
        value = status.get(field)
        return "–" if value is None else format_count(float(str(value)))

    def timed(field: str) -> str:
        value = status.get(field)
        return "–" if value is None else format_seconds(float(str(value)))

    figures = [shown("step"), counted("tokens_seen"), counted("tokens_per_second"), shown("loss", "{:.3f}")]
    costs = [shown("host"), shown("preemptions"), shown("failures"), timed("seconds_lost")]
    return [name, shown("state"), *figures, *costs, timed("seconds_since_last_step")]
