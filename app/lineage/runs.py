"""The run folder: the resolved config and the readable name of everything this config has made."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import yaml

from app.artifacts.layout import CONFIG, RUN
from app.artifacts.store import Folder, StageFolder, Store
from app.config.load import resolved
from app.config.schema import Config
from app.core.records import JsonObject
from app.lineage.lineage import Lineage

Made = Mapping[str, StageFolder]
"""Readable name -> finished stage."""


def recorded(make: Callable[[Lineage], Made]) -> Callable[[Config, Store], JsonObject]:
    """A job's work: make the stages, enter them in the run folder, return their names and keys."""

    def work(config: Config, store: Store) -> JsonObject:
        lineage = Lineage(config, store)
        made = make(lineage)
        record(lineage, made)
        return {"made": {name: f"{stage.stage}/{stage.key}" for name, stage in made.items()}}

    return work


def record(lineage: Lineage, made: Made) -> None:
    """Enter finished stages under their readable names in ``run.json`` and write the resolved config beside it; of
    nothing made, nothing is written.
    """
    # A job that makes no stage holds no lease: what it wrote could undo what a long job enters at the same time.
    if not made:
        return
    run = lineage.run
    run.write(CONFIG, yaml.safe_dump(resolved(lineage.config), sort_keys=False, allow_unicode=True).encode())
    entries: JsonObject = run.read_json(RUN) if run.exists(RUN) else {}
    # Added to what earlier jobs have entered: each job makes some of a run's stages.
    entries.update({name: {"stage": stage.stage, "key": stage.key} for name, stage in made.items()})
    run.write_json(RUN, entries)


def unlike_the_run(config: Config, run: Folder) -> list[str]:
    """What of corpus (but for its languages), training and evaluation differs from the run's own, a line each."""
    if not run.exists(CONFIG):
        return []
    before, now = yaml.safe_load(run.read(CONFIG)), resolved(config)
    lines = []
    for section in ("corpus", "training", "evaluation"):
        made_with = before.get(section, {})
        for name, value in _mapping(now[section]).items():
            # A field that is younger than the run is in none of its settings.
            if (section, name) != ("corpus", "languages") and made_with.get(name, value) != value:
                lines.append(f"{section}.{name} is {value!r}, and the run was made with {made_with[name]!r}")
    return lines


def _mapping(value: object) -> Mapping[str, object]:
    assert isinstance(value, dict)
    return value
