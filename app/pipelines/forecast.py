"""What a job would do: resolved inputs, outputs, tokens per expert, machines asked for. Runs nothing."""

from __future__ import annotations

from app.artifacts.layout import ENSEMBLE, REPORT, SUMMARY, run_folder
from app.artifacts.store import Store
from app.config.schema import Config
from app.core.errors import XelmError
from app.core.languages import normalise
from app.core.records import JsonObject, JsonValue
from app.corpora.layouts import LAYOUTS
from app.corpora.sources import open_corpus
from app.pipelines.allocate import plan_clusters
from app.pipelines.keys import shards_inputs, tokenizer_inputs, tokens_inputs
from app.pipelines.settings import corpus_settings, is_language_level, language_quality
from app.training.budget import split_budget


def forecast(config: Config, store: Store) -> JsonObject:
    """The dry run of every job. A corpus that is not there is reported, not an error: plans need none."""
    run = run_folder(config.run.name)
    result: JsonObject = {
        "inputs": _inputs(config, store),
        "outputs": [f"{store.root}/{run}/{name}" for name in (ENSEMBLE, SUMMARY, REPORT)],
        "machines": {
            "training_runs": config.allocation.k + 1,
            "workers_each": list(config.training.workers_per_expert),
            "cpus_each": config.training.cpus_per_expert,
            "gpus_each": config.training.gpus_per_expert,
        },
    }
    shares = [1.0 / config.allocation.k] * config.allocation.k
    if is_language_level(config) and config.corpus.languages:
        clusters = plan_clusters(config, config.corpus.languages)
        result["clusters"] = [list(cluster) for cluster in clusters]
        if config.training.budget_split == "by_mixture" and config.corpus.mixture == "uniform":
            quality = language_quality(config)
            held = [sum(quality.get(normalise(lang), 1.0) for lang in cluster) for cluster in clusters]
            shares = [share / sum(held) for share in held]
    result["tokens_per_expert"] = list(split_budget(config.training.budget_tokens, shares))
    result["tokens_dense"] = config.training.budget_tokens
    return result


def _inputs(config: Config, store: Store) -> dict[str, JsonValue]:
    try:
        corpus = open_corpus(corpus_settings(config))
        remote = config.corpus.source in LAYOUTS and not config.corpus.path
        found = "listed when jobs.shard runs: a plan leaves the Hub alone" if remote else len(corpus.files())
        shards = shards_inputs(config, corpus).key
        tokenizer = tokenizer_inputs(config, shards).key
        tokens = tokens_inputs(shards, tokenizer).key
    except XelmError as error:
        return {"corpus": config.corpus.source, "found": 0, "problem": str(error)}
    return {
        "corpus": config.corpus.source,
        "found": found,
        "shards": {"key": shards, "done": store.stage("shards", shards).is_complete},
        "tokens": {"key": tokens, "done": store.stage("tokens", tokens).is_complete},
    }
