"""What a job would do: resolved inputs, outputs, tokens per expert, machines asked for. Runs nothing."""

from __future__ import annotations

from collections.abc import Sequence

from app.artifacts.layout import ENSEMBLES, REPORT, SUMMARY, run_folder
from app.artifacts.store import Store
from app.config.schema import Config
from app.core.errors import XelmError
from app.core.languages import normalise
from app.core.records import JsonObject, JsonValue
from app.corpora.layouts import LAYOUTS
from app.lineage.clusters import plan_clusters
from app.lineage.lineage import Lineage
from app.lineage.settings import is_language_level, language_quality, probes_of
from app.training.budget import split_budget


def forecast(config: Config, store: Store, cuts: bool = True) -> JsonObject:
    """The dry run of every job. A corpus that is not there is reported, not an error: plans need none.

    cuts: whether the job needs the corpus to be cut; for one that does not, a cut that is not possible is left out.
    """
    run = run_folder(config.run.name)
    result: JsonObject = {
        "inputs": _inputs(config, store),
        "outputs": [f"{store.root}/{run}/{name}" for name in (ENSEMBLES, SUMMARY, REPORT)],
        "machines": {
            "training_runs": config.allocation.k + len(config.baselines),
            "workers_each": list(config.training.workers_per_expert),
            "cpus_each": config.training.cpus_per_expert,
            "gpus_each": config.training.gpus_per_expert,
        },
    }
    if probes := probes_of(config):
        result["probes"] = list(probes)
    try:
        clusters = forecast_clusters(config)
        result |= {"clusters": clusters} if clusters else {}
        result["tokens_per_expert"] = forecast_tokens(config, clusters)
    except XelmError:
        if cuts:
            raise
    # Through the same rounding to whole steps as the experts' budgets, so that both sums are equal to the token.
    whole = split_budget(config.training.budget_tokens, [1.0], config.training.tokens_per_step)
    result["tokens_dense"] = whole[0]
    return result


def forecast_tokens(config: Config, clusters: Sequence[Sequence[str]]) -> list[int]:
    """Budget of each expert in tokens, from the config alone; equal where only the corpus can tell."""
    shares = [1.0 / config.allocation.k] * config.allocation.k
    # Other mixtures ask how many tokens each language has, which only the tokenized corpus tells.
    if clusters and config.training.budget_split == "by_mixture" and config.corpus.mixture == "uniform":
        # A uniform mixture gives each language 1 before its factor: an expert's share is the sum of its languages'.
        quality = language_quality(config)
        held = [sum(quality.get(normalise(lang), 1.0) for lang in cluster) for cluster in clusters]
        shares = [share / sum(held) for share in held]
    return split_budget(config.training.budget_tokens, shares, config.training.tokens_per_step)


def forecast_clusters(config: Config) -> list[list[str]]:
    """Languages of each expert, empty where only the corpus can tell."""
    if not is_language_level(config) or not config.corpus.languages or probes_of(config):
        return []
    return [list(cluster) for cluster in plan_clusters(config, config.corpus.languages)]


def _inputs(config: Config, store: Store) -> dict[str, JsonValue]:
    try:
        lineage = Lineage(config, store)
        remote = config.corpus.source in LAYOUTS and not config.corpus.path
        found = "listed when jobs.shard runs: a plan leaves the Hub alone" if remote else len(lineage.corpus.files())
        shards, tokens = lineage.shards, lineage.tokens
    except XelmError as error:
        return {"corpus": config.corpus.source, "found": 0, "problem": str(error)}
    return {
        "corpus": config.corpus.source,
        "found": found,
        "shards": {"key": shards.key, "done": shards.is_complete},
        "tokens": {"key": tokens.key, "done": tokens.is_complete},
    }
