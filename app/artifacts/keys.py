"""Keys: the digest of everything a stage's content depends on. Equal keys mean equal content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from app.artifacts.layout import FORMAT_VERSION, Stage
from app.core.records import JsonValue


def digest_json(value: JsonValue | Mapping[str, JsonValue]) -> str:
    """SHA-256 of a JSON value in canonical form (sorted keys, no spaces), 64 hex digits."""
    # Equal values must give equal bytes, in whatever order their keys came. NaN is no JSON, and equals nothing.
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def stage_key(stage: Stage, fields: Mapping[str, JsonValue], parents: Mapping[str, str]) -> str:
    """Key of a stage: 16 hex digits over the fields it reads, its parents' keys and the format version."""
    content: dict[str, JsonValue] = {
        "stage": stage,
        "format_version": FORMAT_VERSION,
        "fields": dict(fields),
        "parents": dict(parents),
    }
    # 64 bits: short enough for a folder; that any two of a million stages agree has a chance of 1 in 37 million.
    return digest_json(content)[:16]
