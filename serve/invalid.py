"""What is wrong with a request, as one sentence. Where a field may have several forms pydantic says it of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi.exceptions import RequestValidationError

_SHOULD = "Input should be "
_Path = tuple[str | int, ...]


@dataclass(frozen=True)
class _Fault:
    """where: in the request; field: where the field stands of which this is one form, in pydantic's words; is_kind:
    whether the value is of another kind, and not of the right one and out of bounds.
    """

    where: _Path
    field: _Path
    is_kind: bool
    message: str

    @property
    def rank(self) -> tuple[tuple[int, ...], bool]:
        """More where more of the value fits the form: entries of a list are looked at in order, and then bounds."""
        return tuple(part if isinstance(part, int) else 0 for part in self.where), not self.is_kind


def what_is_wrong(error: RequestValidationError) -> str:
    """Place and fault, of the first field that is wrong; of several forms, those that fit best."""
    errors = error.errors()
    if errors[0]["type"] == "json_invalid":
        reason = str(errors[0]["ctx"]["error"]).removesuffix(" at")  # how some of Python's reasons end
        return f"the body is not JSON: {reason} at character {errors[0]['loc'][-1]}"
    first, *others = (_fault(one, error.body) for one in errors)
    forms = [first, *(fault for fault in others if fault.field == first.field)]
    best = max(forms, key=lambda fault: fault.rank)  # the first of several
    text = _joined(
        dict.fromkeys(fault.message for fault in forms if (fault.where, fault.rank) == (best.where, best.rank))
    )
    return f"{'.'.join(map(str, best.where))}: {text}" if best.where else text


def _fault(error: Mapping[str, Any], body: Any) -> _Fault:
    loc: _Path = tuple(error["loc"])[1:]  # behind "body"
    where, field = list[str | int](), loc
    for i, part in enumerate(loc):
        if _is_in(part, body):
            body = body[part]
        elif error["type"] != "missing":  # no part of the request: what pydantic calls the form
            field = min(field, loc[:i], key=len)
            continue
        where.append(part)
    # What pydantic puts before our own words.
    message = str(error["msg"]).removeprefix("Value error, ")
    return _Fault(tuple(where), field, str(error["type"]).endswith("_type"), message)


def _is_in(part: str | int, value: Any) -> bool:
    return part in value if isinstance(value, Mapping) else isinstance(value, list) and isinstance(part, int)


def _joined(messages: Iterable[str]) -> str:
    """``Input should be a valid string or a valid list``."""
    first, *others = messages
    if not others or not all(message.startswith(_SHOULD) for message in (first, *others)):
        return first
    *those, last = (message.removeprefix(_SHOULD) for message in (first, *others))
    return f"{_SHOULD}{', '.join(those)} or {last}"
