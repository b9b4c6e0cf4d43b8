"""A run's models as Hugging Face folders with cards and lineage, and the ensemble around them."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import PurePosixPath

from app.artifacts.digests import weights_digest
from app.artifacts.ensemble import read_ensemble
from app.artifacts.layout import (
    ALLOCATOR,
    CARD,
    EXPORT,
    EXPORTED_ENSEMBLE,
    FINAL_MODEL,
    LINEAGE,
    SUMMARY,
    TOKENIZER,
)
from app.artifacts.store import Folder, StageFolder, Store
from app.config.schema import Config
from app.core.records import JsonObject, JsonValue
from app.lineage.inputs import EVALUATE
from app.reporting.model_card import ensemble_card, model_card

log = logging.getLogger(__name__)


def export_run(config: Config, store: Store) -> JsonObject:
    """Write ``<run>/export/``: a folder for each expert, dense and seed, and the ensemble itself at the top.

    Everything is read through the run's ensemble. Raises MissingArtifact if the run has none.
    """
    run = store.run(config.run.name)
    ensemble = read_ensemble(run, f"run {EVALUATE} with this config first")
    summary = run.read_json(SUMMARY) if run.exists(SUMMARY) else {}
    target = run.child(EXPORT)
    tokenizer = store.stage("tokenizer", ensemble.tokenizer)
    kinds = {expert.name: ("expert", expert.model) for expert in ensemble.experts}
    kinds |= {name: ("seed" if name == "seed" else "dense", key) for name, key in ensemble.models.items()}
    for name, (kind, key) in kinds.items():
        lineage = model_lineage(store, config.run.name, name, kind, key)
        _write_model(store.stage("model", key), tokenizer, target.child(name), lineage, _perplexities(summary, name))
        log.info("export: %s", name)
    allocation = store.stage("allocation", ensemble.allocation)
    target.upload(allocation.local(ALLOCATOR), ALLOCATOR)
    _write_files(tokenizer, TOKENIZER, target)
    target.write_json(EXPORTED_ENSEMBLE, asdict(ensemble))
    target.write(CARD, ensemble_card(asdict(ensemble), summary).encode())
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
    seen = {field: manifest.counts[field] for field in ("tokens_seen", "exposure_tokens") if field in manifest.counts}
    made: JsonObject = {"settings": dict(manifest.fields), "made_from": dict(manifest.parents)}
    return {"name": name, "key": key, "weights_sha256": weights_digest(folder), **seen, **made}


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
