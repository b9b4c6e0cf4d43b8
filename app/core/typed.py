"""From JSON to frozen dataclasses: every field there, of its type, or an error that names it."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar

from app.core.errors import CorruptArtifact

T = TypeVar("T")


def from_json(kind: type[T], value: object, where: str) -> T:
    """``value`` as a ``kind``: a dataclass of scalars, optionals, tuples, mappings and other dataclasses.

    where: what the value was read from, for messages. Raises CorruptArtifact for a field that is missing, unknown or of
    another type; a whole number will do where a float is asked for.
    """
    read: T = _read(kind, value, where)
    return read


def _read(kind: Any, value: object, where: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any or kind is object:
        return value
    if is_dataclass(kind):
        return _read_dataclass(kind, value, where)
    if origin in (types.UnionType, typing.Union):
        (inner,) = (argument for argument in arguments if argument is not types.NoneType)
        return None if value is None else _read(inner, value, where)
    if origin is tuple and isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(_read(arguments[0], item, f"{where}[{place}]") for place, item in enumerate(value))
    if origin is Mapping and isinstance(value, Mapping):
        return {str(name): _read(arguments[1], item, f"{where}.{name}") for name, item in value.items()}
    if origin is typing.Literal and value in arguments:
        return value
    # To Python True is an int too; where a record wants a number it is a mistake.
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(kind, type) and isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    raise CorruptArtifact(f"{where} is {value!r}, not {getattr(kind, '__name__', kind)}; make it again")


def _read_dataclass(kind: Any, value: object, where: str) -> Any:
    if not isinstance(value, Mapping):
        raise CorruptArtifact(f"{where} is {value!r}, not an object; make it again")
    # The fields themselves hold only the text of their types, since annotations are not evaluated.
    types_of, given = typing.get_type_hints(kind), {}
    known = {field.name: field for field in fields(kind)}
    if unknown := sorted(set(value) - set(known)):
        raise CorruptArtifact(f"{where} has an unknown field {unknown[0]!r}; known: {', '.join(known)}")
    for name, field in known.items():
        if name in value:
            given[name] = _read(types_of[name], value[name], f"{where}.{name}")
        elif field.default is MISSING and field.default_factory is MISSING:
            raise CorruptArtifact(f"{where} lacks {name}; make it again")
    return kind(**given)
