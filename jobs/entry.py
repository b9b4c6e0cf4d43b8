"""What every job shares: its command line, its logging, its dry run, and how it fails."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout

import yaml

from app.artifacts.store import Store
from app.config.load import load_config, preset_names, resolved
from app.config.schema import Config
from app.core.errors import ConfigError, Preempted, XelmError
from app.core.records import JsonObject
from app.core.redact import redact
from app.lineage.settings import require_strategy

_STATUSES = {ConfigError: 2, Preempted: 75, XelmError: 1}
"""75 is sysexits' TEMPFAIL: run the same command again."""

Step = Callable[[Config, Store], JsonObject]
"""A plan or the work itself: reads config and store, returns what to print."""


def run_job(
    name: str,
    argv: Sequence[str] | None,
    description: str,
    plan: Step,
    work: Step,
    shortcuts: Mapping[str, str] | None = None,
) -> int:
    """Parse the command line, then plan (``--dry-run``) or work. Returns the exit status: 0, 1 failed, 2 bad
    usage, 75 stopped early.

    A result that says ``ok: false`` is printed and is status 1.
    shortcuts: options of this job alone, each with the config key that it sets.
    """
    named = shortcuts or {}
    arguments = _parser(name, description, named).parse_args(argv)
    shown = logging.StreamHandler(sys.stderr)
    shown.setFormatter(_Redacting("%(asctime)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.INFO, handlers=[shown])
    for noisy in ("httpx", "fsspec", "urllib3", "filelock"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        given = {key: getattr(arguments, option) for option, key in named.items()}
        overrides = [*arguments.set, *(f"{key}={value}" for key, value in given.items() if value is not None)]
        config = load_config(arguments.preset or (None if arguments.config else "demo"), arguments.config, overrides)
        require_strategy(config)
        store = Store(config.artifacts.root, config.artifacts.cache)
        with redirect_stdout(sys.stderr):  # Ray tells of its nodes on stdout, which is for the result alone
            if arguments.dry_run:
                result: JsonObject = {"job": name, "dry_run": True, "config": resolved(config), **plan(config, store)}
            else:
                result = {"job": name, "run": config.run.name, **work(config, store)}
    except XelmError as error:
        print(f"{name}: {redact(str(error))}", file=sys.stderr)
        return next(status for kind, status in _STATUSES.items() if isinstance(error, kind))
    except KeyboardInterrupt:
        print(f"{name}: interrupted; run the same command again to continue", file=sys.stderr)
        return 130
    print(json.dumps(result, ensure_ascii=False) if arguments.format == "json" else _as_text(result))
    return 1 if result.get("ok") is False else 0


class _Redacting(logging.Formatter):
    """What a library says may hold what a configuration may not."""

    def format(self, record: logging.LogRecord) -> str:
        return str(redact(super().format(record)))


def _parser(name: str, description: str, shortcuts: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m jobs.{name}", description=description)
    parser.add_argument("--preset", default=None, help=f"one of {', '.join(preset_names())} (default: demo)")
    parser.add_argument("--config", default=None, metavar="FILE", help="YAML file laid over the preset")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="lists: a,b,c")
    parser.add_argument("--dry-run", action="store_true", help="show what would be done, and stop")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="json: one object on stdout")
    for option, key in shortcuts.items():
        parser.add_argument(f"--{option}", default=None, metavar=key.upper(), help=f"short for --set {key}=")
    return parser


def _as_text(result: JsonObject) -> str:
    if isinstance(text := result.get("text"), str):
        return text
    return yaml.safe_dump(result, sort_keys=False, allow_unicode=True, width=120).rstrip()
