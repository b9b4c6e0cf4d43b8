"""What is wrong on the driver before any node is asked: the cut, the interpreter, HOME, the disk."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from app.artifacts.layout import RUN
from app.artifacts.store import Store
from app.config.schema import Config
from app.core.errors import ArtifactError, XelmError
from app.core.units import format_bytes
from app.doctor.checks import DRIVER, Check
from app.doctor.look import free_bytes
from app.lineage.clusters import plan_clusters
from app.lineage.settings import is_language_level, probes_of
from app.planning.plan import planned_work, seed_size, storage_forecast


def ground_checks(config: Config, store: Store, cuts: bool = True) -> list[Check]:
    """All checks of this module; what cannot be looked at is not among them. cuts: whether the job needs the cut."""
    home = _home(Path.home()) if config.cluster.address == "local" else ()
    return [*untouching_checks(config, store, cuts), *home]


def untouching_checks(config: Config, store: Store, cuts: bool = True) -> list[Check]:
    """Those that write nothing."""
    return [*(_cut(config) if cuts else ()), *interpreter_check(sys.executable), *_room(config, store)]


def _cut(config: Config) -> Iterator[Check]:
    """k against the languages, where whole languages are cut and nothing has to be measured for it."""
    # Without a list the languages are known when the shards are; probes have to be measured on the seed first.
    if not config.corpus.languages or not is_language_level(config) or probes_of(config):
        return
    try:
        clusters = plan_clusters(config, config.corpus.languages)
    except XelmError as error:
        yield Check("cut", "configuration", "failed", str(error))
    else:
        yield Check("cut", "configuration", "ok", "; ".join(",".join(cluster) for cluster in clusters))


def interpreter_check(executable: str) -> Iterator[Check]:
    """Ray starts its workers through a command line that is cut at spaces."""
    if " " in executable:
        cure = "move the project (or .venv) to a path without spaces and run make setup there"
        yield Check("interpreter", DRIVER, "failed", f"Ray cannot start workers from {executable!r}; {cure}")


def _home(home: Path) -> Iterator[Check]:
    """A local Ray keeps its token below the home folder."""
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return
    # Made before HOME became read-only: it is read, and nothing else is written there.
    if (home / ".ray" / "auth_token").is_file():
        return
    try:
        folder = home / ".ray"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Tried by writing: a read-only file system does not show in the folder's mode.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        cure = "set HOME to a folder that can be written, or RAY_AUTH_TOKEN to a secret of your own"
        yield Check("home", DRIVER, "failed", f"{home}/.ray cannot be written ({error.strerror}); {cure}")


def _room(config: Config, store: Store) -> Iterator[Check]:
    """The forecast of what the run will still write against the free space of a local store."""
    if "://" in store.root:
        return
    try:
        size = seed_size(config)
        planned = planned_work(config, size)
    except XelmError:  # a seed of unknown size, or a cut that is not possible
        return
    made = _made(config, store)
    works = [work for work in planned if work.name not in made]
    needs = storage_forecast(config, size, works)
    parts = ("models", "checkpoints_at_most", *(() if "tokens" in made else ("tokens", "shards")))
    wanted, free = sum(float(str(needs[part])) for part in parts), free_bytes(store.root)
    says = f"the run will write up to {format_bytes(wanted)} below {store.root}, where {format_bytes(free)} are free"
    if wanted > free:
        cure = "set artifacts.root to a larger disk, lower training.keep_checkpoints, or take a smaller seed"
        yield Check("space", DRIVER, "failed", f"{says}; {cure}")
    else:
        yield Check("space", DRIVER, "ok", says)


def _made(config: Config, store: Store) -> set[str]:
    """Readable names of what this run has made already."""
    run = store.run(config.run.name)
    with suppress(ArtifactError):
        return set(run.read_json(RUN)) if run.exists(RUN) else set()
    return set()
