"""The trials of a sweep: settings of a grid, or drawn from it, each as a configuration with a run of its own."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from app.config.load import load_config_tree, resolved
from app.config.schema import Config
from app.core.errors import ConfigError
from app.core.records import JsonObject
from app.core.seeding import generator
from app.lineage.settings import require_known_names

Setting = int | float | str

AXES: Mapping[str, str] = {
    "k": "allocation.k",
    "strategy": "allocation.strategy",
    "weighting": "evaluation.weighting",
    "temperature": "evaluation.temperature",
    "power": "evaluation.power",
    "top_m": "evaluation.top_m",
    "learning_rate": "training.learning_rate",
    "tokens_per_step": "training.tokens_per_step",
    "budget_tokens": "training.budget_tokens",
    "seed_width": "seed.width",
    "mixture": "corpus.mixture",
    "random_seed": "run.seed",
}
"""Field of the section ``sweep`` -> the setting that it tries values of."""


@dataclass(frozen=True)
class Trial:
    """One point: settings by axis, and the configuration with them, whose run is named after the sweep and them."""

    settings: Mapping[str, Setting]
    config: Config

    @property
    def name(self) -> str:
        """Name of its run."""
        return self.config.run.name


@dataclass
class Outcome:
    """What became of a trial: ``finished``, ``failed`` (with the reason) or ``stopped``; figures where it finished."""

    trial: Trial
    status: str = "stopped"
    reason: str = ""
    figures: JsonObject = field(default_factory=dict)

    def entry(self) -> JsonObject:
        """As it is printed and kept."""
        told: JsonObject = {"reason": self.reason} if self.reason else {}
        return {
            "run": self.trial.name,
            "config": dict(self.trial.settings),
            "status": self.status,
            **told,
            **self.figures,
        }


def axes_of(config: Config) -> dict[str, tuple[Setting, ...]]:
    """The axes that have values. Raises ConfigError if none has, or if one of them would change nothing."""
    # A value typed twice would be two trials of one run.
    values = {name: tuple(dict.fromkeys(getattr(config.sweep, name))) for name in AXES}
    found = {name: tried for name, tried in values.items() if tried}
    if not found:
        raise ConfigError("the sweep tries nothing; give values, e.g. --set sweep.k=2,4")
    if "seed_width" in found and config.seed.source != "trained":
        raise ConfigError(
            f"sweep.seed_width tries widths of a seed that is trained, and seed.source={config.seed.source} has the"
            " width of its model; set seed.source=trained, or take sweep.seed_width out"
        )
    return found


def grid(axes: Mapping[str, Sequence[Setting]]) -> Iterator[dict[str, Setting]]:
    """Every combination, the last axis changing fastest."""
    return (dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values()))


def planned_settings(config: Config) -> list[dict[str, Setting]]:
    """The settings of all trials of ``grid`` and ``random``; the latter draws without repeating one."""
    points = list(grid(axes_of(config)))
    if config.sweep.searcher == "grid":
        return points
    drawn = generator(config.run.seed, "sweep").permutation(len(points))[: config.sweep.trials]
    return [points[place] for place in sorted(drawn.tolist())]  # the grid's order, whatever was drawn first


def trial_of(config: Config, settings: Mapping[str, Setting]) -> Trial:
    """The trial of a sweep with these settings. Raises ConfigError for values that the configuration refuses, or that
    name nothing that exists.
    """
    tree = {name: dict(part) if isinstance(part, dict) else part for name, part in resolved(config).items()}
    tree["sweep"] = {}  # a trial is one run, and tries nothing itself
    for axis, value in settings.items():
        section, _, field = AXES[axis].partition(".")
        tree[section][field] = value
        if axis == "seed_width":
            # Else every width would have the feed-forward layers of the configured one.
            tree[section]["ffn_width"] = 4 * int(value)
    tree["run"]["name"] = trial_name(config.run.name, settings)
    trial = Trial(dict(settings), load_config_tree(tree))
    require_known_names(trial.config)
    return trial


def trial_name(sweep: str, settings: Mapping[str, Setting]) -> str:
    """``demo.k-2.strategy-random``: the same settings of a sweep have the same run."""
    words = [f"{axis}-{value}" for axis, value in settings.items()]
    return re.sub(r"[^A-Za-z0-9._-]", "-", ".".join([sweep, *words]))
