"""What each model of a run is, where it stands and what it took, from the store alone."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from app.artifacts.layout import FLEET
from app.artifacts.store import StageFolder, Store
from app.config.schema import Config
from app.core.errors import ConfigError
from app.core.records import JsonObject
from app.fleet.control import model_status
from app.planning.costs import gpu_seconds
from app.planning.plan import chosen_gpu, planned_work, seed_size

_HOUR = 3600.0
_CPU = "cpu"


def model_records(config: Config, store: Store, models: Mapping[str, StageFolder]) -> dict[str, JsonObject]:
    """Readable name -> counts of the manifest, status, bytes in the store; on GPUs hours, forecast hours and money."""
    run = store.run(config.run.name)
    fleet = run.read_json(FLEET) if run.exists(FLEET) else {}
    forecast = forecast_gpu_hours(config)
    records: dict[str, JsonObject] = {}
    for name, stage in models.items():
        entry, counts = fleet.get(name), stage.manifest().counts
        # What this run's fleet has not trained has no entry in its record; the manifest is there, so the model is done.
        status: JsonObject = {"state": "done", "step": counts.get("steps"), "loss": counts.get("final_loss")}
        # A fleet of before another seed has entries of the same names and other models.
        if isinstance(entry, dict) and entry["key"] == stage.key:
            status |= model_status(store, entry)
        record: JsonObject = {**counts, **status, "storage_bytes": stage.size_bytes()}
        records[name] = {**record, **_on_gpus(config, record, forecast.get(name))}
    return records


def forecast_gpu_hours(config: Config) -> dict[str, float]:
    """GPU-hours that ``jobs.plan`` forecasts for each model; empty where it forecasts none."""
    if not config.training.gpus_per_expert:
        return {}
    with suppress(ConfigError):  # a seed of unknown size: then there is no forecast to compare with
        gpu, share = chosen_gpu(config), config.planning.utilisation
        works = planned_work(config, seed_size(config))
        return {work.name: gpu_seconds(work.flops, gpu, share) / _HOUR for work in works}
    return {}


def _on_gpus(config: Config, record: JsonObject, forecast: float | None) -> JsonObject:
    """GPU-hours of all attempts and their price on spot machines and on demand; nothing for what CPUs have trained."""
    seconds, device = record.get("worker_seconds"), record.get("device", _CPU)
    if seconds is None or device == _CPU:
        return {}
    workers = int(str(record.get("workers", 1)))
    hours = float(str(seconds)) * config.training.gpus_per_expert * workers / _HOUR
    gpu = chosen_gpu(config)
    return {
        "gpu_hours": hours,
        "gpu_hours_forecast": forecast,
        "money_spot": hours * gpu.spot,
        "money_on_demand": hours * gpu.on_demand,
    }
