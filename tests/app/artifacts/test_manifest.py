from __future__ import annotations

import json

import pytest

from app.artifacts.manifest import Manifest, read_manifest
from app.core.errors import CorruptArtifact, StaleArtifact


def test_a_manifest_reads_back_equal() -> None:
    manifest = Manifest("tokens", "k", {"a": 1}, {"shards": "s"}, {"n": 2}, 1.5)
    assert read_manifest(manifest.to_json(), "here", "run jobs.tokenize") == manifest


def test_a_torn_manifest_names_the_cure() -> None:
    with pytest.raises(CorruptArtifact, match=r"here is torn .* run jobs.tokenize"):
        read_manifest('{"stage": "tok', "here", "run jobs.tokenize")


def test_another_format_version_is_stale() -> None:
    tree = json.loads(Manifest("tokens", "k", {}, {}).to_json()) | {"format_version": 99}
    with pytest.raises(StaleArtifact, match="format version 99"):
        read_manifest(json.dumps(tree), "here", "run jobs.tokenize")
