"""What every section of the configuration is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

PositiveInt = Annotated[int, Field(gt=0)]
NonNegativeInt = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
NonNegativeFloat = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


def _as_names(value: object) -> object:
    """Accept ``de,en`` from a command line where a list of names is meant."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _in_home(value: object) -> object:
    """``~/x`` is below the home folder, as in a shell: which leaves it as it is behind ``--set key=``."""
    return str(Path(value).expanduser()) if isinstance(value, str) and value.startswith("~") else value


def as_values(value: object) -> object:
    """Accept one value, and ``2,4`` from a command line, where several are meant."""
    if isinstance(value, str):
        return _as_names(value)
    return (value,) if isinstance(value, int | float) else value


def _as_off(value: object) -> object:
    """YAML reads ``off`` as false."""
    return "off" if value is False else value


def _as_range(value: object) -> object:
    """Accept one number for a range of nothing else, and ``1,4`` from a command line."""
    parts = _as_names(value) if isinstance(value, str) else value
    return (parts, parts) if isinstance(parts, int) else parts


Place = Annotated[str, BeforeValidator(_in_home)]
Spelled = BeforeValidator(_as_names)
Names = Annotated[tuple[str, ...], Spelled]
Range = Annotated[tuple[PositiveInt, PositiveInt], BeforeValidator(_as_range)]
Off = BeforeValidator(_as_off)


class Section(BaseModel):
    """Base of every section."""

    # The string below a field is its description: docs/configuration.md is made of these.
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
