"""The versions of a run's ensemble: who its experts are, in order, and how they are mixed.

Each version is a file of its own that is never written again; ``current`` names one of them and is replaced as a
whole, so a reader sees the old version or the new one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

from app.artifacts.layout import CURRENT_ENSEMBLE, ENSEMBLES, ensemble_name
from app.artifacts.store import Folder
from app.core.errors import MissingArtifact, StaleArtifact
from app.core.records import JsonValue
from app.core.typed import from_json

FORMAT = 1


@dataclass(frozen=True)
class ExpertRecord:
    """One expert: its model and its parent by key, the round it came in (0: with the first ones), its languages.

    ``weights_sha256`` is the digest of its weights; ``tokens_seen`` is None where nobody knows.
    """

    name: str
    model: str
    parent: str | None
    round: int
    languages: tuple[str, ...]
    weights_sha256: str
    tokens_seen: int | None = None


@dataclass(frozen=True)
class EnsembleRecord:
    """All that serving needs. ``models``: name -> key of single models beside the experts (seed, dense, ...).

    ``mixing``: the fields of ``app.ensemble.rules.WeightingSettings``, its name perhaps ``auto``. ``shares``:
    language -> share of its text that each expert holds; empty where nobody knows. ``starts_equal``: whether a text
    begins with equal weights though its language is told. ``version`` counts from 1.
    """

    run: str
    experts: tuple[ExpertRecord, ...]
    allocation: str
    tokenizer: str
    models: Mapping[str, str]
    mixing: Mapping[str, object] = field(default_factory=dict)
    shares: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    starts_equal: bool = False
    version: int = 0
    format: int = FORMAT

    @property
    def start(self) -> Mapping[str, tuple[float, ...]]:
        """Language -> weight of each expert before the first token of a text in it; empty: all equal."""
        return {} if self.starts_equal else self.shares


def write_ensemble(run: Folder, record: EnsembleRecord, grown_from: int | None = None) -> EnsembleRecord:
    """Add ``record`` as the next version and make it the current one; a record equal to the current one adds nothing.

    grown_from: the version that it was made from, which must still be the current one. Whoever grows a version holds
    the run's driver lease (``app.artifacts.lease``), which keeps others away; this is the net below it, for a lease
    that was lost. Raises StaleArtifact. Returns the record as it is current now.
    """
    if grown_from is not None:
        require_current(run, grown_from)
    added = replace(record, version=next_version(run, record))
    if run.exists(CURRENT_ENSEMBLE) and read_ensemble(run, "") == added:
        return added
    # A kill between the two leaves a version that nobody reads; `next_version` gives its number to the same record.
    run.write_json(ensemble_name(added.version), asdict(added))
    run.write_json(CURRENT_ENSEMBLE, {"version": added.version})
    return added


def next_version(run: Folder, record: EnsembleRecord) -> int:
    """The number that ``write_ensemble`` gives this record: that of the current version if they are equal, or of the
    newest one, which whoever wrote it did not live to make current; else the next that is free.
    """
    known = ensemble_versions(run)
    written = [read_ensemble(run, "").version] if run.exists(CURRENT_ENSEMBLE) else []
    for version in [*written, *known[-1:]]:
        if replace(_read_version(run, version), version=0) == replace(record, version=0):
            return version
    return max(known, default=0) + 1


def require_current(run: Folder, version: int) -> None:
    """Raises StaleArtifact unless ``version`` is still the current one: whoever grew it would drop what came since."""
    if (now := read_ensemble(run, "").version) != version:
        raise StaleArtifact(
            f"{run.uri} went from version {version} to {now} meanwhile, so what was made from {version} was not"
            " registered; run the same command again: what is made already and still fits is found"
        )


def regrown(
    current: EnsembleRecord, first: EnsembleRecord, shares: Mapping[str, tuple[float, ...]]
) -> EnsembleRecord | None:
    """``first``, made anew, with the experts of later rounds and the further models of ``current``; None where those
    grew from other experts. shares: of all experts.
    """
    n = len(first.experts)
    later = current.experts[n:]
    if current.experts[:n] != first.experts or current.tokenizer != first.tokenizer or not all(e.round for e in later):
        return None
    anew = replace(current, mixing=dict(first.mixing), shares=dict(shares), starts_equal=first.starts_equal)
    return replace(anew, models={**current.models, **first.models})


def ensemble_versions(run: Folder) -> list[int]:
    """Numbers of the versions of a run, ascending."""
    stems = (name.removesuffix(".json") for name in run.names(ENSEMBLES))
    return sorted(int(stem) for stem in stems if stem.isdigit())


def names_given(run: Folder) -> list[str]:
    """Names of the experts of all versions up to the current one: a removed expert's name is not given again."""
    current = read_ensemble(run, "").version
    records = [_read_version(run, version) for version in ensemble_versions(run) if version <= current]
    return sorted({expert.name for record in records for expert in record.experts})


def read_ensemble(run: Folder, cure: str, version: int | None = None) -> EnsembleRecord:
    """A version of a run's ensemble; without a number the current one.

    Raises MissingArtifact ending with ``cure`` where there is none, and what ``parse_ensemble`` raises.
    """
    if not run.exists(CURRENT_ENSEMBLE):
        raise MissingArtifact(f"{run.uri} holds no ensemble; {cure}")
    if version is None:
        version = from_json(_Current, run.read_json(CURRENT_ENSEMBLE), f"{run.uri}/{CURRENT_ENSEMBLE}").version
    elif version not in (known := ensemble_versions(run)):
        raise MissingArtifact(f"{run.uri} has no version {version}; there are {', '.join(map(str, known))}")
    return _read_version(run, version)


def _read_version(run: Folder, version: int) -> EnsembleRecord:
    name = ensemble_name(version)
    return parse_ensemble(run.read_json(name), f"{run.uri}/{name}")


def parse_ensemble(tree: Mapping[str, JsonValue], where: str) -> EnsembleRecord:
    """A record from its JSON. Raises StaleArtifact for another format, CorruptArtifact for what is no record."""
    if isinstance(found := tree.get("format"), int) and found != FORMAT:
        newer = "use the newer program that wrote it" if found > FORMAT else "make the run's evaluation again"
        raise StaleArtifact(f"{where} has format {found}, this program reads {FORMAT}; {newer}")
    return from_json(EnsembleRecord, tree, where)


@dataclass(frozen=True)
class _Current:
    version: int
