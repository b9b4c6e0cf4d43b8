"""An ensemble from models that were made elsewhere: Hugging Face folders, ids, or the paper's own checkpoints."""

from __future__ import annotations

import logging
import re
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from app.allocation.base import Allocator, expert_names
from app.allocation.by_language import LanguageAllocator
from app.allocation.random_split import RandomAllocator
from app.allocation.storage import save_allocator
from app.artifacts.counts import AllocationCounts, ModelCounts, TokenizerCounts
from app.artifacts.digests import file_digest, weights_digest
from app.artifacts.ensemble import EnsembleRecord, ExpertRecord, write_ensemble
from app.artifacts.layout import ALLOCATOR, FINAL_MODEL, TOKENIZER
from app.artifacts.store import StageFolder, Store
from app.config.schema import Config
from app.core.errors import ConfigError
from app.core.languages import normalise
from app.core.records import JsonValue
from app.lineage.inputs import StageInputs, planned
from app.lineage.lineage import Lineage
from app.lineage.runs import Made
from app.lineage.settings import weighting_settings
from app.models.causal import CausalLM
from app.models.load import count_parameters, load_model, require_vocabulary, save_model
from app.models.metaseq import is_metaseq, load_metaseq
from app.tokens.tokenizer import Tokenizer, load_tokenizer

log = logging.getLogger(__name__)

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_FILES_OF_A_MODEL = ("config.json", "tokenizer.json", "tokenizer_config.json", "sentencepiece.bpe.model")
_LANGUAGES_END, _LANGUAGE_SEPARATOR = "=", "+"
_MADE_BY = "python -m jobs.import_experts"


@dataclass(frozen=True)
class Source:
    """Where one expert comes from, and the languages that are to be its own; empty: nobody said."""

    place: str
    languages: tuple[str, ...]


def import_experts(lineage: Lineage) -> Made:
    """Bring the experts into the store and write the run's ensemble around them.

    Raises ConfigError if there are none, if a place cannot be loaded, if only some name their languages or two name
    the same, or if a model has fewer ids than the tokenizer or another tokenizer than the first; CorpusError for an
    unknown language.
    """
    config, store = lineage.config, lineage.store
    sources = [parse_source(text) for text in config.imported.experts]
    clusters = check_languages(sources)
    require_places([source.place for source in sources] + [config.imported.tokenizer] * bool(config.imported.tokenizer))
    names = expert_names(len(sources))
    tokenizer = _shared_tokenizer(config, sources)
    experts = {name: _import_model(store, name, source, tokenizer) for name, source in zip(names, sources, strict=True)}
    made: dict[str, StageFolder] = {
        "tokenizer": _publish_tokenizer(store, tokenizer),
        "allocation": _publish_allocator(store, names, clusters),
        **experts,
    }
    members = tuple(
        ExpertRecord(name, stage.key, None, 0, source.languages, stage.counts(ModelCounts).weights_sha256)
        for (name, stage), source in zip(experts.items(), sources, strict=True)
    )
    mixing = asdict(weighting_settings(config))
    allocation, shared = made["allocation"].key, made["tokenizer"].key
    write_ensemble(lineage.run, EnsembleRecord(config.run.name, members, allocation, shared, {}, mixing))
    return made


def parse_source(text: str) -> Source:
    """``de+fr=PLACE`` or ``PLACE``. Raises CorpusError for an unknown language."""
    head, separator, place = text.partition(_LANGUAGES_END)
    if not separator:
        return Source(_in_home(text), ())
    return Source(_in_home(place), tuple(normalise(code) for code in head.split(_LANGUAGE_SEPARATOR)))


def _in_home(place: str) -> str:
    # Shells leave ~ as it is behind `de+fr=` and within a list.
    return str(Path(place).expanduser()) if place.startswith("~") else place


def check_languages(sources: Sequence[Source]) -> list[tuple[str, ...]]:
    """The languages of each expert, or nothing if none names any. Raises ConfigError."""
    if not sources:
        raise ConfigError("imported.experts is empty; give --experts a,b,c with folders, ids or checkpoint files")
    silent = [source.place for source in sources if not source.languages]
    if silent and len(silent) < len(sources):
        raise ConfigError(
            f"imported.experts names languages for some, but not for {silent[0]}; write de+fr={silent[0]}, or none"
        )
    seen: set[str] = set()
    for source in sources:
        if twice := seen.intersection(source.languages):
            raise ConfigError(
                f"imported.experts gives {', '.join(sorted(twice))} to two experts; each language has one"
            )
        seen.update(source.languages)
    return [] if silent else [source.languages for source in sources]


def require_places(places: Sequence[str]) -> None:
    """Raise ConfigError for all places that are neither here nor can be an id of the Hub, and for folders of no model.

    An id is ``name`` or ``owner/name``; what looks like a path, or has the first part of one that is here, is one.
    """
    wrong = []
    for place in places:
        path = Path(place)
        if path.is_dir() and not any((path / name).exists() for name in _FILES_OF_A_MODEL):
            wrong.append(f"{place} holds neither {' nor '.join(_FILES_OF_A_MODEL)}")
        elif not path.exists() and (not _HUB_ID.fullmatch(place) or ("/" in place and path.parent.is_dir())):
            wrong.append(f"{place} is not there")
    if wrong:
        raise ConfigError(
            f"imported.experts: {'; '.join(wrong)}; give a Hugging Face folder (config.json and weights), an id of"
            " the Hub (owner/name), or a checkpoint file"
        )


def _shared_tokenizer(config: Config, sources: Sequence[Source]) -> Tokenizer:
    """The one tokenizer of all experts: given, or the first expert's; a checkpoint file brings none."""
    folders = [source.place for source in sources if not is_metaseq(source.place)]
    if not config.imported.tokenizer and not folders:
        raise ConfigError("checkpoint files bring no tokenizer; set imported.tokenizer, e.g. facebook/xglm-1.7B")
    first = config.imported.tokenizer or folders[0]
    tokenizer = load_tokenizer(first)
    # Mixing adds up probabilities id by id, so the ids must mean the same in all models.
    for place in folders:
        if (other := load_tokenizer(place)).digest != tokenizer.digest:
            raise ConfigError(
                f"{place} has another tokenizer ({other.digest[:12]}) than {first} ({tokenizer.digest[:12]});"
                " experts of one ensemble share one"
            )
    return tokenizer


def _import_model(store: Store, name: str, source: Source, tokenizer: Tokenizer) -> StageFolder:
    started = time.monotonic()
    fields: dict[str, JsonValue] = {"kind": "imported", **_identity(source.place)}
    stage = planned(StageInputs("model", fields, {}, _MADE_BY), store)
    if stage.is_complete:
        return stage.folder
    model: CausalLM = load_metaseq(source.place) if is_metaseq(source.place) else load_model(source.place)
    require_vocabulary(model, tokenizer.vocab_size, f"{name} ({source.place})")
    with tempfile.TemporaryDirectory(prefix="xelm-import-") as temporary:
        folder = Path(temporary) / FINAL_MODEL
        save_model(model, folder, f"# {name}\n\nImported from {source.place}.\n")
        counts = ModelCounts(name, count_parameters(model), weights_digest(folder))
        stage.folder.upload(folder, FINAL_MODEL)
    stage.publish(asdict(counts), time.monotonic() - started)
    log.info("import: %s from %s", name, source.place)
    return stage.folder


def _identity(place: str) -> dict[str, JsonValue]:
    """What a model's key is made of: the digests of its files, or the Hub's id."""
    path = Path(place)
    if not path.exists():
        return {"model": place}
    # By content: a folder that was moved is the same model, and one that was written over is another.
    files = [path] if path.is_file() else [*sorted(path.glob("*.safetensors")), path / "config.json"]
    return {"files": {file.name: file_digest(file) for file in files if file.exists()}}


def _publish_tokenizer(store: Store, tokenizer: Tokenizer) -> StageFolder:
    started = time.monotonic()
    stage = planned(StageInputs("tokenizer", {"imported": tokenizer.digest}, {}, _MADE_BY), store)
    if not stage.is_complete:
        with tempfile.TemporaryDirectory(prefix="xelm-import-") as temporary:
            tokenizer.save(str(Path(temporary) / TOKENIZER))
            stage.folder.upload(Path(temporary) / TOKENIZER, TOKENIZER)
        counts = TokenizerCounts(tokenizer.vocab_size, tokenizer.digest)
        stage.publish(asdict(counts), time.monotonic() - started)
    return stage.folder


def _publish_allocator(store: Store, names: Sequence[str], clusters: Sequence[tuple[str, ...]]) -> StageFolder:
    """Languages to experts where they are known; else an allocator that prefers nobody."""
    held: list[JsonValue] = [list(cluster) for cluster in clusters]
    fields: dict[str, JsonValue] = {"imported": len(names), "clusters": held}
    started, stage = time.monotonic(), planned(StageInputs("allocation", fields, {}, _MADE_BY), store)
    if not stage.is_complete:
        allocator: Allocator = (
            LanguageAllocator(tuple(names), tuple(clusters)) if clusters else RandomAllocator(tuple(names), 0)
        )
        save_allocator(allocator, stage.folder.child(ALLOCATOR).write)
        counts = AllocationCounts(tuple(names), allocator.unit)
        stage.publish(asdict(counts), time.monotonic() - started)
    return stage.folder
