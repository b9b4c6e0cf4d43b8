"""What a stage folder says about itself: who made it, from what, and what is in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from app.artifacts.layout import FORMAT_VERSION
from app.core.errors import CorruptArtifact, StaleArtifact
from app.core.records import JsonObject, JsonValue


@dataclass(frozen=True)
class Manifest:
    """``fields`` and ``parents`` are what the key was made of; ``counts`` what the stage produced."""

    stage: str
    key: str
    fields: Mapping[str, JsonValue]
    parents: Mapping[str, str]
    counts: Mapping[str, JsonValue] = field(default_factory=dict)
    seconds: float = 0.0
    format_version: int = FORMAT_VERSION

    def to_json(self) -> str:
        """Readable JSON text, keys sorted."""
        return json.dumps(asdict(self), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def read_manifest(text: str, where: str, cure: str) -> Manifest:
    """Parse and check a manifest.

    Raises CorruptArtifact if it is torn, StaleArtifact if another format version wrote it; both end with ``cure``.
    """
    try:
        tree: JsonObject = json.loads(text)
        manifest = Manifest(**tree)  # type: ignore[arg-type]  # checked by the two tests below
    except (ValueError, TypeError) as error:
        raise CorruptArtifact(f"{where} is torn ({error}); delete its folder and {cure}") from None
    if manifest.format_version != FORMAT_VERSION:
        raise StaleArtifact(
            f"{where} has format version {manifest.format_version}, this program writes {FORMAT_VERSION};"
            f" delete its folder and {cure}"
        )
    return manifest
