"""A run's models as Hugging Face folders with cards and lineage, and the ensemble around them."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import asdict
from importlib import resources
from pathlib import Path

import yaml

from app.allocation.by_language import LanguageAllocator
from app.allocation.storage import load_allocator
from app.artifacts.digests import weights_digest
from app.artifacts.ensemble import EnsembleRecord, read_ensemble
from app.artifacts.layout import (
    ALLOCATOR,
    CARD,
    CONFIG,
    EXPORT,
    EXPORTED_ENSEMBLE,
    FINAL_MODEL,
    LINEAGE,
    MIXTURE_PROGRAM,
    SUMMARY,
    TOKENIZER,
)
from app.artifacts.store import Folder, StageFolder, Store
from app.config.schema import Config
from app.core.records import JsonObject, JsonValue
from app.lineage.inputs import EVALUATE, seed_location
from app.models.load import load_model
from app.reporting.model_card import Origin, ensemble_card, model_card
from app.tokens.tokenizer import export_tokenizer

log = logging.getLogger(__name__)


def export_run(config: Config, store: Store) -> JsonObject:
    """Write ``<run>/export/``: a folder for each expert, dense and seed, and the ensemble itself at the top.

    Everything is read through the run's ensemble. Raises MissingArtifact if the run has none.
    """
    run = store.run(config.run.name)
    ensemble = read_ensemble(run, f"run {EVALUATE} with this config first")
    summary = run.read_json(SUMMARY) if run.exists(SUMMARY) else {}
    target = run.child(EXPORT)
    origin = _origin(run, ensemble)
    kinds = {expert.name: ("expert", expert.model) for expert in ensemble.experts}
    kinds |= {name: (_kind(store, name, key), key) for name, key in ensemble.models.items()}
    with tempfile.TemporaryDirectory(prefix="xelm-export-") as temporary:
        tokenizer = Path(temporary)
        place = str(store.stage("tokenizer", ensemble.tokenizer).local(TOKENIZER))
        first = store.stage("model", ensemble.experts[0].model).local(FINAL_MODEL)
        export_tokenizer(place, temporary, load_model(str(first)).context)  # all have the shape of one seed
        for name, (kind, key) in kinds.items():
            lineage = model_lineage(store, config.run.name, name, kind, key)
            card = model_card(lineage, _perplexities(summary, name), origin)
            _write_model(store.stage("model", key), tokenizer, target.child(name), lineage, card)
            log.info("export: %s", name)
        _write_files(tokenizer, target)
    _write_ensemble(store, ensemble, target)
    target.write(CARD, ensemble_card(asdict(ensemble), summary, origin).encode())
    return {"exported": target.uri, "models": list(kinds)}


def _write_ensemble(store: Store, ensemble: EnsembleRecord, target: Folder) -> None:
    """What mixing needs beside weights and tokenizer: the record, the allocator, and the program that mixes."""
    allocation = store.stage("allocation", ensemble.allocation)
    allocator = load_allocator(allocation.child(ALLOCATOR).read)
    owners: JsonObject = {}
    if isinstance(allocator, LanguageAllocator):
        held = zip(allocator.experts, allocator.clusters, strict=True)
        owners = {lang: name for name, languages in held for lang in languages}
    target.upload(allocation.local(ALLOCATOR), ALLOCATOR)
    target.write_json(EXPORTED_ENSEMBLE, {**asdict(ensemble), "shares": dict(ensemble.start), "owners": owners})
    target.write(MIXTURE_PROGRAM, (resources.files("app.ensemble") / "exported.py").read_bytes())


def _origin(run: Folder, ensemble: EnsembleRecord) -> Origin:
    """The run's pretrained seed and the licence that its card names; nobody knows the seed of imported experts."""
    if "seed" not in ensemble.models or not run.exists(CONFIG):
        return Origin()
    seed = yaml.safe_load(run.read(CONFIG))["seed"]
    if seed["source"] != "pretrained":
        return Origin()
    # In a folder on this machine only: an export asks the Hub for nothing.
    card = Path(seed_location(seed["model"])) / CARD
    # The front matter of a card: YAML between two lines of dashes.
    _, _, rest = (card.read_text(encoding="utf-8") if card.is_file() else "").partition("---\n")
    header = yaml.safe_load(rest.partition("\n---")[0]) if rest else None
    licence = header.get("license") if isinstance(header, dict) else None
    return Origin(seed["model"], str(licence or ""))


def model_lineage(store: Store, run: str, name: str, kind: str, key: str) -> JsonObject:
    """What a model is made of: its own digests and settings, and those of its parents up to the seed."""
    own = _one_generation(store, name, key)
    chain: list[JsonValue] = []
    parent = _parent(store, key)
    while parent is not None:
        above = _parent(store, parent)
        chain.append(_one_generation(store, "seed" if above is None else "expert", parent))
        parent = above
    # An expert of the first cut has the seed alone above it, the seed nothing: both are of round 0.
    return {"run": run, "kind": kind, **own, "round": max(0, len(chain) - 1), "parents": chain}


def _kind(store: Store, name: str, key: str) -> str:
    """What a single model is, for its card."""
    if store.stage("model", key).manifest().fields["kind"] == "merged":
        return "merged"
    return "seed" if name == "seed" else "dense"


def _one_generation(store: Store, name: str, key: str) -> JsonObject:
    manifest = store.stage("model", key).manifest()
    folder = store.stage("model", key).local(FINAL_MODEL)
    seen = {field: manifest.counts[field] for field in ("tokens_seen", "exposure_tokens") if field in manifest.counts}
    made: JsonObject = {"settings": dict(manifest.fields), "made_from": dict(manifest.parents)}
    return {"name": name, "key": key, "weights_sha256": weights_digest(folder), **seen, **made}


def _parent(store: Store, key: str) -> str | None:
    """Key of the model this one branched from; None for a seed."""
    # The parents of a merge stand under its experts' names, so it has no chain.
    return store.stage("model", key).manifest().parents.get("parent")


def _write_model(model: StageFolder, tokenizer: Path, target: Folder, lineage: JsonObject, card: str) -> None:
    _write_files(model.local(FINAL_MODEL), target)
    _write_files(tokenizer, target)
    target.write_json(LINEAGE, lineage)
    target.write(CARD, card.encode())


def _write_files(source: Path, target: Folder) -> None:
    # File by file: uploading a folder would replace all that the target holds, and two are written into one.
    for file in sorted(source.iterdir()):
        target.upload(file, file.name)


def _perplexities(summary: JsonObject, system: str) -> dict[str, float]:
    table = summary.get("per_language")
    rows = table.items() if isinstance(table, dict) else ()
    return {
        lang: float(str(cells[system]["perplexity"]))
        for lang, cells in rows
        if isinstance(cells, dict) and isinstance(cells.get(system), dict)
    }
