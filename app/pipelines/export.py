"""A run's models as Hugging Face folders with cards and lineage, and the ensemble around them."""

from __future__ import annotations

import hashlib
import logging
from pathlib import PurePosixPath

from app.artifacts.layout import (
    ALLOCATOR,
    CARD,
    ENSEMBLE,
    EXPORT,
    FINAL_MODEL,
    LINEAGE,
    SUMMARY,
    TOKENIZER,
)
from app.artifacts.store import Folder, StageFolder, Store
from app.config.schema import Config
from app.core.errors import MissingArtifact
from app.core.records import JsonObject, JsonValue
from app.reporting.model_card import ensemble_card, model_card

log = logging.getLogger(__name__)


def export_run(config: Config, store: Store) -> JsonObject:
    """Write ``<run>/export/``: a folder for each expert, dense and seed, and the ensemble itself at the top.

    Everything is read through the run's ``ensemble.json``. Raises MissingArtifact if the run has none.
    """
    run = store.run(config.run.name)
    if not run.exists(ENSEMBLE):
        raise MissingArtifact(f"{run.uri} holds no {ENSEMBLE}; run python -m jobs.evaluate with this config first")
    ensemble = run.read_json(ENSEMBLE)
    summary = run.read_json(SUMMARY) if run.exists(SUMMARY) else {}
    target = run.child(EXPORT)
    tokenizer = store.stage("tokenizer", str(ensemble["tokenizer"]))
    experts = ensemble["experts"]
    assert isinstance(experts, list)
    members = [dict(entry) for entry in experts if isinstance(entry, dict)]
    kinds = {str(entry["name"]): ("expert", str(entry["model"])) for entry in members}
    kinds |= {name: (name, str(ensemble[name])) for name in ("dense", "seed") if ensemble.get(name)}
    for name, (kind, key) in kinds.items():
        lineage = model_lineage(store, config.run.name, name, kind, key)
        _write_model(store.stage("model", key), tokenizer, target.child(name), lineage, _perplexities(summary, name))
        log.info("export: %s", name)
    for entry in members:
        entry["folder"] = entry["name"]
    exported: JsonObject = {**ensemble, "experts": [*members]}
    allocation = store.stage("allocation", str(ensemble["allocation"]))
    target.upload(allocation.local(ALLOCATOR), ALLOCATOR)
    _write_files(tokenizer, TOKENIZER, target)
    target.write_json(ENSEMBLE, exported)
    target.write(CARD, ensemble_card(exported, summary).encode())
    return {"exported": target.uri, "models": list(kinds)}


def model_lineage(store: Store, run: str, name: str, kind: str, key: str) -> JsonObject:
    """What a model is made of: its own digests and settings, and those of its parents up to the seed."""
    own = _one_generation(store, name, key)
    chain: list[JsonValue] = []
    parent = _parent(store, key)
    while parent is not None:
        above = _parent(store, parent)
        chain.append(_one_generation(store, "seed" if above is None else "expert", parent))
        parent = above
    return {"run": run, "kind": kind, **own, "round": max(0, len(chain) - 1), "parents": chain}


def _one_generation(store: Store, name: str, key: str) -> JsonObject:
    manifest = store.stage("model", key).manifest()
    folder = store.stage("model", key).local(FINAL_MODEL)
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as stream:
            for block in iter(lambda: stream.read(1 << 20), b""):
                digest.update(block)
    seen = {field: manifest.counts[field] for field in ("tokens_seen", "exposure_tokens") if field in manifest.counts}
    made: JsonObject = {"settings": dict(manifest.fields), "made_from": dict(manifest.parents)}
    return {"name": name, "key": key, "weights_sha256": digest.hexdigest(), **seen, **made}


def _parent(store: Store, key: str) -> str | None:
    """Key of the model this one branched from; None for a seed."""
    return store.stage("model", key).manifest().parents.get("parent")


def _write_model(
    model: StageFolder, tokenizer: StageFolder, target: Folder, lineage: JsonObject, perplexity: dict[str, float]
) -> None:
    _write_files(model, FINAL_MODEL, target)
    _write_files(tokenizer, TOKENIZER, target)
    target.write_json(LINEAGE, lineage)
    target.write(CARD, model_card(lineage, perplexity).encode())


def _write_files(source: Folder, name: str, target: Folder) -> None:
    for file in sorted(source.local(name).iterdir()):
        target.upload(file, PurePosixPath(file).name)


def _perplexities(summary: JsonObject, system: str) -> dict[str, float]:
    table = summary.get("per_language")
    rows = table.items() if isinstance(table, dict) else ()
    return {
        lang: float(str(cells[system]["perplexity"]))
        for lang, cells in rows
        if isinstance(cells, dict) and isinstance(cells.get(system), dict)
    }
