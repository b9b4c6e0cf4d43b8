"""Preset, then YAML file, then ``--set a.b=c``: the only way a configuration is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from app.config.schema import Config
from app.core.errors import ConfigError
from app.core.records import JsonValue
from app.core.redact import holds_secret, redact
from app.core.suggest import nearest, unknown_value


def preset_names() -> tuple[str, ...]:
    """Names of the presets that come with the project, sorted."""
    folder = resources.files("app.config") / "presets"
    return tuple(sorted(file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml")))


def load_config(preset: str | None = None, file: str | None = None, overrides: Sequence[str] = ()) -> Config:
    """Build the configuration.

    ``overrides`` are ``section.key=value`` strings; the value is read as YAML, lists also as ``a,b,c``, and ``null``
    takes out a named table. Raises ConfigError naming the key or value and the nearest known one.
    """
    tree: dict[str, Any] = {}
    if preset is not None:
        tree = _read_preset(preset)
    if file is not None:
        tree = _merged(tree, _read_yaml(Path(file)))
    for override in overrides:
        tree = _merged(tree, _parse_override(override))
    run = tree.get("run")
    # A `run` that is no section is left as it is, for pydantic to refuse by name.
    if isinstance(run, Mapping | None) and not (run or {}).get("name"):
        name = preset or (Path(file).stem if file else "default")
        tree = _merged(tree, {"run": {"name": name}})
    return load_config_tree(tree)


def load_config_tree(tree: Mapping[str, Any]) -> Config:
    """The configuration of a whole tree, such as ``resolved`` gives and a run folder keeps. Raises ConfigError."""
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(item) for item in error.errors())) from None
    # On the whole tree, so also in what a preset or a file has brought.
    _refuse_secrets(resolved(config))
    return config


def resolved(config: Config) -> dict[str, Any]:
    """The whole tree as plain JSON types."""
    return config.model_dump(mode="json")


def _refuse_secrets(value: JsonValue, where: str = "") -> None:
    """A configuration is shown, logged and kept beside the run, so it never holds what must not be seen."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _refuse_secrets(inner, f"{where}.{name}".lstrip("."))
    elif isinstance(value, list):
        for inner in value:
            _refuse_secrets(inner, where)
    elif isinstance(value, str) and holds_secret(value):
        raise ConfigError(
            f"{where} = {redact(value)!r} holds a secret, and the configuration is kept and shown; take it out and give"
            " it in the environment (AWS_SECRET_ACCESS_KEY, HF_TOKEN, or FSSPEC_<PROTOCOL>_<OPTION> for any storage)"
        )


def _read_preset(name: str) -> dict[str, Any]:
    if name not in preset_names():
        raise ConfigError(unknown_value("preset", name, preset_names()))
    text = (resources.files("app.config") / "presets" / f"{name}.yaml").read_text(encoding="utf-8")
    return dict(yaml.safe_load(text) or {})


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration file {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
    if tree is not None and not isinstance(tree, dict):
        raise ConfigError(f"{path} must hold sections such as 'allocation:', not {type(tree).__name__}")
    return tree or {}


def _parse_override(text: str) -> dict[str, Any]:
    key, separator, raw = text.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"--set {text!r} must look like section.key=value")
    try:
        value = yaml.safe_load(raw) if raw else ""
    except yaml.YAMLError:
        value = raw
    if not isinstance(value, str | int | float | bool | list | dict) and raw != "null":
        value = raw  # dates and the like stay what was typed; `no` (Norwegian) is caught below
    # YAML 1.1 takes yes, no, on and off for booleans too.
    if isinstance(value, bool) and raw.lower() not in ("true", "false"):
        value = raw
    # A name of digits, or 010, which YAML takes for eight.
    if isinstance(value, int | float) and _is_text(key.strip().split(".")):
        value = raw
    tree: Any = value
    for part in reversed(key.strip().split(".")):
        tree = {part: tree}
    return dict(tree)


def _is_text(path: Sequence[str]) -> bool:
    """Whether the setting of this path is a string."""
    section: Any = Config
    for part in path[:-1]:
        field = section.model_fields.get(part)
        section = field.annotation if field else None
        if not (isinstance(section, type) and issubclass(section, BaseModel)):
            return False
    field = section.model_fields.get(path[-1])
    return field is not None and field.annotation in (str, str | None)


def _merged(base: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """``above`` over ``base``; null takes a table out, such as a further dense model that a preset has."""
    out = dict(base)
    for key, value in above.items():
        old = out.get(key)
        if value is None and isinstance(old, Mapping):
            del out[key]
            continue
        out[key] = _merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return out


def _explain(item: Any) -> str:
    path = [str(part) for part in item["loc"]]
    where = ".".join(path)
    if item["type"] == "extra_forbidden":
        section: Any = Config
        for part in path[:-1]:
            is_table = get_origin(section) is dict
            # The part of a table's path is the user's name, the section is the type of its values.
            section = get_args(section)[1] if is_table else section.model_fields[part].annotation
        known = list(section.model_fields)
        full = {".".join([*path[:-1], name]) for name in known}
        # First a slip of the pen within the section, then a key that stands in another one.
        close = nearest(path[-1], known, n=1) or nearest(where, _all_keys(Config), n=1)
        meant = ".".join([*path[:-1], close[0]]) if close and close[0] in known else (close[0] if close else "")
        hint = f"; did you mean {meant!r}?" if meant else ""
        return f"unknown configuration key {where!r}{hint} known here: {', '.join(sorted(full))}"
    message = str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "value_error":
        return f"{where}: {message}" if where else message
    return f"{where} = {item['input']!r}: {message}"


def _all_keys(section: type[BaseModel], prefix: str = "") -> list[str]:
    keys: list[str] = []
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            keys += _all_keys(kind, f"{prefix}{name}.")
        else:
            keys.append(f"{prefix}{name}")
    return keys
