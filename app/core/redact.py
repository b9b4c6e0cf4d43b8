"""Secrets out of what is shown: by the name of the setting, and in addresses."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from app.core.records import JsonValue

HIDDEN = "•••"
_SECRET_NAME = re.compile(
    r"(^|[_.-])(secret|password|passwd|credentials?|token)$|(api|access|account|private|secret)[_.-]?key$",
    re.IGNORECASE,
)
# What is shown loses the user too; only a password makes an address one that `holds_secret` objects to.
_USER_IN_ADDRESS = re.compile(r"(?<=://)[^/@\s]+@")
_PASSWORD_IN_ADDRESS = re.compile(r"(?<=://)[^/@:\s]*:[^/@\s]+@")
_SECRET_IN_QUERY = re.compile(
    r"([?&][^=&\s]*(?:token|key|secret|sig|signature|credential)[^=&\s]*=)[^&\s]+", re.IGNORECASE
)
_WELL_KNOWN = re.compile(r"\b(?:hf_|sk-|gh[pousr]_|glpat-|AKIA|ASIA)[A-Za-z0-9_-]{12,}")


def redact(value: JsonValue) -> JsonValue:
    """A copy in which values of secret settings, passwords in addresses and well-known tokens are hidden.

    ``budget_tokens`` and a content ``key`` are no secrets, ``token`` and ``api_key`` are; an empty setting stays empty.
    """
    if isinstance(value, str):
        text = _USER_IN_ADDRESS.sub(f"{HIDDEN}@", value)
        text = _SECRET_IN_QUERY.sub(rf"\1{HIDDEN}", text)
        return _WELL_KNOWN.sub(HIDDEN, text)
    if isinstance(value, Mapping):
        return {
            name: HIDDEN if inner and _SECRET_NAME.search(name) and isinstance(inner, str) else redact(inner)
            for name, inner in value.items()
        }
    if isinstance(value, Sequence):
        return [redact(inner) for inner in value]
    return value


def holds_secret(text: str) -> bool:
    """Whether an address brings its password or signature, or a well-known token is in it; a user's name is none."""
    return any(pattern.search(text) for pattern in (_PASSWORD_IN_ADDRESS, _SECRET_IN_QUERY, _WELL_KNOWN))
