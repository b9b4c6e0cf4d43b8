"""The cluster files as data, and what the code asks of a cluster."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import yaml

from app.config.load import load_config, preset_names
from app.config.schema import Config
from tests.support.source import ROOT, modules

RAY_FILES = ("cluster.yaml", "deploy/gcp.yaml")


def load(name: str) -> dict[str, Any]:
    """A file of one YAML document."""
    loaded: dict[str, Any] = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
    return loaded


def configured(words: Sequence[str]) -> Config:
    """The configuration of a command line ``python -m jobs.NAME --preset NAME --set KEY=VALUE ...``."""
    assert (ROOT / (words[words.index("-m") + 1].replace(".", "/") + ".py")).is_file()
    settings = [value for flag, value in pairwise(words) if flag == "--set"]
    return load_config(words[words.index("--preset") + 1], None, settings)


def asked_for() -> list[dict[str, float]]:
    """The resources of every task, training run and replica that the code starts, each once."""
    wanted: list[dict[str, float]] = [{"CPU": cpus} for cpus in _literal_cpus()]
    for name in preset_names():
        config = load_config(name)
        gpus = config.training.gpus_per_expert
        wanted += [{"CPU": cpus, "GPU": gpus} for cpus in (config.training.cpus_per_expert, config.seed.cpus, 1.0)]
    return [dict(pairs) for pairs in sorted({tuple(sorted(need.items())) for need in wanted})]


def _literal_cpus() -> set[float]:
    """Every ``num_cpus=`` followed by a number in the stages on Ray."""
    calls = (node for module in modules("app/pipelines", "app/fleet", "app/doctor") for node in ast.walk(module.tree()))
    keywords = (keyword for node in calls if isinstance(node, ast.Call) for keyword in node.keywords)
    return {
        float(word.value.value)
        for word in keywords
        if word.arg == "num_cpus" and isinstance(word.value, ast.Constant) and isinstance(word.value.value, int | float)
    }


def offers(node_types: Mapping[str, Any], wanted: Mapping[str, float]) -> bool:
    """Whether a node of some type that can be started holds all of it."""
    return any(
        all(kind["resources"].get(name, 0) >= amount for name, amount in wanted.items())
        for kind in node_types.values()
        if kind.get("max_workers", 1) > 0
    )
