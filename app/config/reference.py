"""docs/configuration.md from the configuration tree: ``python -m app.config.reference > docs/configuration.md``."""

from __future__ import annotations

import json
import typing

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from app.config.load import preset_names
from app.config.schema import Config

_HEADER = """# Configuration

Built in one order: preset, then `--config FILE.yaml`, then `--set section.key=value`; unknown keys and bad values fail
at once. Lists on the command line are comma-separated. This page is made by `python -m app.config.reference`.

Presets: {presets}.
"""


def render_reference() -> str:
    """Every key with its type, default and meaning, as Markdown."""
    parts = [_HEADER.format(presets=", ".join(f"`{name}`" for name in preset_names()))]
    for name, field in Config.model_fields.items():
        section, prefix = field.annotation, f"{name}."
        if typing.get_origin(section) is dict:  # sections that the user names
            section, prefix = typing.get_args(section)[1], f"{name}.<name>."
        assert isinstance(section, type) and issubclass(section, BaseModel)
        parts.append(f"## {name}\n\n{field.description}\n\n| key | type | default | meaning |\n|---|---|---|---|")
        parts[-1] += "".join(f"\n{row}" for row in _rows(section, prefix))
        parts[-1] += "\n"
    return "\n".join(parts)


def _rows(section: type[BaseModel], prefix: str) -> list[str]:
    rows: list[str] = []
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            rows += _rows(kind, f"{prefix}{name}.")
            continue
        default = json.dumps(getattr(section(), name), ensure_ascii=False, default=BaseModel.model_dump)
        # A row of a Markdown table ends with its line.
        meaning = " ".join((field.description or "").split())
        rows.append(f"| `{prefix}{name}` | {_type(field)} | `{default}` | {meaning} |")
    return rows


def _type(field: FieldInfo) -> str:
    kind = field.annotation
    if typing.get_origin(kind) is typing.Literal:
        return " or ".join(f"`{value}`" for value in typing.get_args(kind))
    if typing.get_origin(kind) is tuple:
        return "list"
    return getattr(kind, "__name__", str(kind))


if __name__ == "__main__":
    print(render_reference(), end="")
