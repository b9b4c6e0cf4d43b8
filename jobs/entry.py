"""What every job shares: its command line, its dry run, and how it fails. Heavy libraries load after ``--help``."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, redirect_stdout
from importlib import metadata
from typing import TYPE_CHECKING, Protocol

from app.fleet.interruption import ends_on_signals
from jobs.failures import explain
from jobs.next_steps import Typed, as_lines
from jobs.terminal import set_up_logging, signs_of_life

if TYPE_CHECKING:
    from app.artifacts.store import Store
    from app.config.schema import Config
    from app.core.records import JsonObject

log = logging.getLogger(__name__)


class Step(Protocol):
    """The work of a job: reads config and store, returns what to print."""

    def __call__(self, config: Config, store: Store, /) -> JsonObject: ...


def run_job(
    name: str,
    argv: Sequence[str] | None,
    description: str,
    work: Callable[[], Step],
    *,
    shortcuts: Mapping[str, str] | None = None,
    switches: Mapping[str, str] | None = None,
    is_long: bool = False,
    cuts: bool = True,
    foresee: Callable[[], Step] | None = None,
    package: str = "jobs",
    then: Callable[[Typed], dict[str, str]] | None = None,
    changes_run: bool = False,
) -> int:
    """Parse the command line, then forecast (``--dry-run``) or work. Returns the exit status: 0, 1 failed, 2 bad
    usage, 75 stopped early, 130 interrupted.

    A result that says ``ok: false`` is printed and is status 1.
    work: imports what does the work and returns it. shortcuts: options of this job alone, each with the config key
    that it sets; switches: the same for options without a value, which set it to true. is_long: looks at the machines
    before it starts, and heeds signals. cuts: whether it needs the corpus to be cut. foresee: what a dry run says
    first. package: where the command is. then: what can be typed after it, printed below its text. changes_run: it
    writes into the run's folder, as all long jobs do: it waits while another works at the run.
    """
    named = {**(shortcuts or {}), **(switches or {})}
    arguments = _parser(f"{package}.{name}", description, shortcuts or {}, switches or {}).parse_args(argv)
    set_up_logging()
    try:
        with ExitStack() as meanwhile:
            meanwhile.enter_context(redirect_stdout(sys.stderr))  # Ray tells of its nodes there; it is for the result
            meanwhile.enter_context(signs_of_life())
            if is_long:
                meanwhile.enter_context(ends_on_signals())
            result, typed = _result(name, arguments, named, work, is_long, cuts, foresee, changes_run)
            if then and not arguments.dry_run:
                result["next"] = then(typed)
    except (Exception, KeyboardInterrupt) as error:
        said, status = explain(error, name)
        print(f"{name}: {said}", file=sys.stderr)
        return status
    # Behind the with, where stdout is itself again: nothing else may stand beside the result.
    print(json.dumps(result, ensure_ascii=False) if arguments.format == "json" else _as_text(result))
    return 1 if result.get("ok") is False else 0


def _result(
    name: str,
    arguments: argparse.Namespace,
    named: Mapping[str, str],
    work: Callable[[], Step],
    is_long: bool,
    cuts: bool,
    foresee: Callable[[], Step] | None,
    changes_run: bool,
) -> tuple[JsonObject, Typed]:
    from app.artifacts.store import Store
    from app.config.load import load_config, resolved

    given = {key: getattr(arguments, option) for option, key in named.items()}
    overrides = [*arguments.set, *(f"{key}={value}" for key, value in given.items() if value is not None)]
    config = load_config(arguments.preset or (None if arguments.config else "demo"), arguments.config, overrides)
    log.info("%s: run %s in %s; loading libraries", name, config.run.name, config.artifacts.root)
    from app.lineage.settings import require_known_names

    require_known_names(config)
    store = Store(config.artifacts.root, config.artifacts.cache, config.artifacts.cache_bytes)
    words = [
        word
        for option in ("preset", "config")
        if (value := getattr(arguments, option))
        for word in (f"--{option}", value)
    ]
    words += [word for override in overrides for word in ("--set", override)]
    typed = Typed(words, config.run.name, config.artifacts.root, config.corpus.source, config.allocation.strategy)
    if arguments.dry_run:
        from app.doctor.preflight import foreseen
        from app.planning.forecast import forecast

        first = foresee()(config, store) if foresee else {}
        problems = foreseen(config, store, cuts)
        planned = {**first, "problems": problems, **forecast(config, store, cuts), "config": resolved(config)}
        return {"job": name, "dry_run": True, **planned}, typed
    step = work()
    from app.artifacts.layout import DRIVER, STOP
    from app.artifacts.lease import held

    with ExitStack() as meanwhile:
        # Before the lease, so that what cannot run is refused without waiting for whoever works at the run.
        if is_long:
            from app.doctor.preflight import ready

            meanwhile.enter_context(ready(config, store, cuts))
        if is_long or changes_run:
            meanwhile.enter_context(held(store.run(config.run.name), DRIVER, f"jobs.{name}"))
            # One that an earlier job obeyed would end this one at once; what is asked for from now on counts.
            store.run(config.run.name).remove(STOP)
        return {"job": name, "run": config.run.name, **step(config, store)}, typed


def _parser(
    name: str, description: str, shortcuts: Mapping[str, str], switches: Mapping[str, str]
) -> argparse.ArgumentParser:
    from app.config.load import preset_names

    parser = argparse.ArgumentParser(prog=f"python -m {name}", description=description)
    parser.add_argument("--preset", default=None, help=f"one of {', '.join(preset_names())} (default: demo)")
    parser.add_argument("--config", default=None, metavar="FILE", help="YAML file laid over the preset")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="lists: a,b,c")
    parser.add_argument("--dry-run", action="store_true", help="show what would be done, and stop")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="json: one object on stdout")
    parser.add_argument("--version", action="version", version=version())
    for option, key in shortcuts.items():
        parser.add_argument(f"--{option}", default=None, metavar=key.upper(), help=f"short for --set {key}=")
    for option, key in switches.items():
        # None and not false where it is not typed, or it would override the file's value.
        parser.add_argument(f"--{option}", default=None, action="store_const", const="true", help=f"set {key}")
    return parser


def version() -> str:
    """Name and version of the project as it is installed; of a bare checkout only the name."""
    try:
        return f"xelm-ray {metadata.version('xelm-ray')}"
    except metadata.PackageNotFoundError:
        return "xelm-ray (not installed)"


def _as_text(result: JsonObject) -> str:
    if isinstance(text := result.get("text"), str):
        steps = result.get("next")
        return f"{text}\n{as_lines(steps)}" if isinstance(steps, dict) else text
    import yaml

    shown: str = yaml.safe_dump(result, sort_keys=False, allow_unicode=True, width=120)
    return shown.rstrip()
