"""What a run will take, from its configuration alone: nothing is started, neither corpus nor weights are needed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from statistics import median

from app.artifacts.layout import RUN
from app.artifacts.store import Store
from app.config.schema import Config
from app.config.training import BaselineConfig
from app.core.errors import ArtifactError, ConfigError
from app.core.records import JsonObject
from app.lineage.inputs import baseline_tokens_per_step, seed_location, seed_tokens_per_step
from app.lineage.settings import seed_shape
from app.models.flops import training_flops_per_token
from app.models.sizes import ModelSize, size_of_place, size_of_shape
from app.planning import costs
from app.planning.forecast import forecast_clusters, forecast_tokens
from app.planning.interval import daly_interval, young_interval
from app.planning.outlook import DENSE, SEED, Assumptions, Work, gpu_outlook
from app.planning.reading import forecast_reading
from app.planning.spot import spot_outlook
from app.reporting.plan_text import plan_text
from app.training.budget import steps_for
from app.training.notices import NOTICE_SECONDS
from app.training.saving import save_fits

_HOUR = 3600.0


def make_plan(config: Config, store: Store) -> JsonObject:
    """Models, FLOPs, memory, storage, how often to save; and where GPUs train, hours and money for n of them.

    With ``planning.files`` the corpus is listed too. A run of this name that has finished models lends its measured
    times of saving. Raises ConfigError if the seed's size cannot be known, CorpusError if the corpus cannot be listed.
    """
    size = seed_size(config)
    works, saving = planned_work(config, size), _saving(config, store, size)
    record: JsonObject = {
        "run": config.run.name,
        "seed": {"model": _seed_name(config), **asdict(size)},
        "models": [asdict(work) for work in works],
        "memory": {
            "training_bytes": worker_bytes(config, size),
            "workers": config.training.workers_per_expert[0],
            "gpu_share": config.training.gpus_per_expert,
        },
        "storage": storage_forecast(config, size, works),
        "saving": saving,
        "gpu": None,
        "prices": price_record(config),
    }
    if config.training.gpus_per_expert:
        save, stall, best = (float(str(saving[name])) for name in ("save_seconds", "stall_seconds", "interval_seconds"))
        assumed = assumptions(config, save, stall)
        record |= gpu_outlook(works, assumed, best, config.training.checkpoint_every_steps)
        if config.planning.simulate:
            # No run has more steps than the longest, and its end saves it too.
            every = min(config.training.checkpoint_every_steps, max(work.steps for work in works))
            interval = every * assumed.step_seconds(works)
            daly = float(str(saving["daly_seconds"]))
            record["spot"] = spot_outlook(works, assumed, daly, interval, config.planning.draws)
    elif config.planning.simulate:
        raise ConfigError("planning.simulate needs the time of a step on a GPU; set training.gpus_per_expert")
    if config.planning.files:
        record |= {"reading": forecast_reading(config)}
    return record | {"text": plan_text(record)}


def price_record(config: Config) -> JsonObject:
    """Whose prices of which GPU are used."""
    return {"currency": config.planning.currency, "gpu": config.planning.gpu, "of": config.planning.prices}


def seed_size(config: Config) -> ModelSize:
    """The size of this config's seed, and so of each model."""
    if config.seed.source == "trained":
        return size_of_shape(seed_shape(config, config.seed.vocabulary_size))
    return size_of_place(seed_location(config.seed.model), config.seed.revision or None)


def worker_bytes(config: Config, size: ModelSize) -> int:
    """What each worker of an expert holds in memory beside activations; with FSDP two layers at a time are whole."""
    # The least number of workers: a run may have to go on with so few, and each then holds the most.
    training, workers = config.training, config.training.workers_per_expert[0]
    if training.parallelism == "data" or workers == 1:
        return costs.training_bytes(size.parameters)
    # Embedding and last norm belong to no layer: FSDP gathers them as one unit, which is whole beside the two layers.
    cut = max(0, size.layers - 2) * size.layer_parameters
    return costs.sharded_training_bytes(size.parameters, workers, size.parameters - cut)


def planned_work(config: Config, size: ModelSize) -> list[Work]:
    """Every training run of the config: a trained seed first, dense, the experts; the only expert of all languages is
    the dense model, and trained once.
    """
    training = config.training
    clusters = forecast_clusters(config)
    experts = forecast_tokens(config, clusters)
    budgets = dict.fromkeys(config.baselines, training.budget_tokens)
    # Of documents, by a random cut or TF-IDF, it is a model of its own.
    if len(clusters) != 1 or config.baselines[DENSE] != BaselineConfig():
        budgets |= {f"expert-{i:02d}": tokens for i, tokens in enumerate(experts)}
    if config.seed.source == "trained":
        budgets = {SEED: config.seed.budget_tokens, **budgets}
    steps = {SEED: seed_tokens_per_step(config)}
    steps |= {name: baseline_tokens_per_step(config, baseline) for name, baseline in config.baselines.items()}
    return [
        model_work(config, size, name, budget, steps.get(name, training.tokens_per_step))
        for name, budget in budgets.items()
    ]


def model_work(config: Config, size: ModelSize | None, name: str, budget: int, tokens_per_step: int) -> Work:
    """One training run of so many tokens; 0 FLOPs where the model's size is unknown."""
    steps = steps_for(budget, tokens_per_step)
    tokens, length = steps * tokens_per_step, config.training.sequence_length
    per_token = training_flops_per_token(size.parameters, size.layers, size.width, length) if size else 0
    return Work(name, tokens, steps, tokens * per_token)


def chosen_gpu(config: Config) -> costs.Gpu:
    """The GPU of the price table that the config names."""
    gpu = config.planning.gpus[config.planning.gpu]
    return costs.Gpu(config.planning.gpu, gpu.peak_tflops * 1e12, gpu.memory_gb * 1e9, gpu.on_demand, gpu.spot)


def assumptions(config: Config, save: float, stall: float) -> Assumptions:
    """The config's assumptions. save, stall: seconds of a save, and of training's wait for it."""
    planning = config.planning
    return Assumptions(
        gpu=chosen_gpu(config),
        gpus_each=config.training.gpus_per_expert * config.training.workers_per_expert[0],
        utilisation=planning.utilisation,
        between=_HOUR / planning.interruptions_per_hour,
        restart=planning.restart_seconds,
        save=save,
        stall=stall,
        head_per_hour=planning.head_per_hour,
    )


def _seed_name(config: Config) -> str:
    return config.seed.model if config.seed.source == "pretrained" else f"trained {config.seed.architecture}"


def storage_forecast(config: Config, size: ModelSize, works: Sequence[Work]) -> JsonObject:
    """Bytes in the store; checkpoints go as each model is finished.

    While the newest checkpoint is being written there is one more than are kept. The text is at least what dense sees
    once.
    """
    tokens = config.training.budget_tokens
    # A pretrained seed is copied into the store without being trained, so it is not among the works.
    models = len(works) + (config.seed.source == "pretrained")
    parts: dict[str, float] = {
        "models": models * costs.weights_bytes(size.parameters),
        "tokens": costs.token_bytes(tokens, size.vocabulary),
        "shards": tokens * config.planning.text_bytes_per_token,
    }
    kept = sum(parts.values())
    each = (config.training.keep_checkpoints + 1) * costs.checkpoint_bytes(size.parameters)
    return {
        **parts,
        "checkpoints_of_a_model": each,
        "checkpoints_at_most": each * len(works),
        "kept": kept,
        "kept_per_month": kept / 1e9 * config.planning.storage_per_gb_month,
    }


def _saving(config: Config, store: Store, size: ModelSize) -> JsonObject:
    """Seconds of a save and of training's wait for it, what is best made of them, and which notices it fits."""
    planning = config.planning
    checkpoint = costs.checkpoint_bytes(size.parameters)
    measured = _measured_saving(config, store)
    guessed = (checkpoint / planning.save_bytes_per_second, checkpoint / planning.copy_bytes_per_second)
    save, stall = measured or guessed
    between = _HOUR / planning.interruptions_per_hour
    daly = daly_interval(stall, between)
    return {
        "checkpoint_bytes": checkpoint,
        "save_seconds": save,
        "stall_seconds": stall,
        "measured": measured is not None,
        "seconds_between_interruptions": between,
        "young_seconds": young_interval(stall, between),
        "daly_seconds": daly,
        "interval_seconds": max(daly, save),  # a save waits for the one before
        "notices": {
            cloud: {"seconds": seconds, "fits": save_fits(save, seconds)} for cloud, seconds in NOTICE_SECONDS.items()
        },
    }


def _measured_saving(config: Config, store: Store) -> tuple[float, float] | None:
    """Median seconds of a save and of the wait for one, over the finished models of this run; None without any."""
    run = store.run(config.run.name)
    entries = run.read_json(RUN).values() if run.exists(RUN) else ()
    found: list[tuple[float, float]] = []
    for entry in entries:
        if isinstance(entry, dict) and entry["stage"] == "model":
            with suppress(ArtifactError):  # made by an older version, or gone: then it lends nothing
                counts = store.stage("model", str(entry["key"])).manifest().counts
                # There is none of a copied seed, nor of a model that was finished before its first save.
                if counts.get("save_seconds") is not None:
                    waited = float(str(counts["saving_seconds"])) / int(str(counts["saves"]))
                    found.append((float(str(counts["save_seconds"])), waited))
    return (median(save for save, _ in found), median(stall for _, stall in found)) if found else None
