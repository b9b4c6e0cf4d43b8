"""The data card: what a corpus held, what was read of it and what was not, for people and for later checks."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import numpy as np
from numpy.typing import NDArray

from app.artifacts.layout import DATA_CARD
from app.artifacts.store import Folder
from app.core.typed import from_json
from app.corpora.base import SourceFile, Survey, Unread
from app.corpora.losses import PoorFile, find_poor_files, tell_poor_files
from app.corpora.shards import part_names, read_part, read_sidecar
from app.corpora.unread import tell_unread

log = logging.getLogger(__name__)

_NAMED = 1000


@dataclass(frozen=True)
class DataCard:
    """``documents`` and ``bytes``: by ``<lang>/<split>``; ``rejects``: rows by reason, in all and by a file's language.

    ``duplicates``: training documents whose text stood before already, ``held_out_in_training``: held-out documents
    whose text is trained on, by language. ``unread``, ``poor_files``: at most the first thousand of each.
    """

    documents: Mapping[str, int]
    bytes: Mapping[str, int]
    rejects: Mapping[str, int]
    rejects_by_language: Mapping[str, Mapping[str, int]]
    duplicates: Mapping[str, int]
    held_out_in_training: Mapping[str, int]
    understood: tuple[str, ...] = ()
    unread: tuple[Unread, ...] = ()
    poor_files: tuple[PoorFile, ...] = ()
    languages_not_identified: tuple[str, ...] | None = field(default=None)

    @property
    def languages(self) -> tuple[str, ...]:
        """Languages with documents, sorted."""
        return tuple(sorted({name.partition("/")[0] for name in self.documents}))


def make_card(
    stage: Folder, files: Mapping[int, SourceFile], survey: Survey, identified: frozenset[str] | None
) -> DataCard:
    """Add up the sidecars of the files that were read, by their numbers, count duplicates, and write the card.

    identified: languages that the identification knows, None if it is off.
    """
    sidecars = [read_sidecar(stage, number) for number in files]
    documents, sizes, rejects = Counter[str](), Counter[str](), Counter[str]()
    by_language: dict[str, Counter[str]] = {}
    for file, sidecar in zip(files.values(), sidecars, strict=True):
        documents.update(sidecar.documents)
        sizes.update(sidecar.bytes)
        rejects.update(sidecar.rejects)
        if sidecar.rejects:
            by_language.setdefault(file.lang or "unknown", Counter()).update(sidecar.rejects)
    languages = sorted({name.partition("/")[0] for name in documents})
    repeats = {lang: _count_repeats(stage, lang) for lang in languages}
    card = DataCard(
        documents=_sorted(documents),
        bytes=_sorted(sizes),
        rejects=_sorted(rejects),
        rejects_by_language={lang: _sorted(counts) for lang, counts in sorted(by_language.items())},
        duplicates={lang: within for lang, (within, _) in repeats.items()},
        held_out_in_training={lang: across for lang, (_, across) in repeats.items()},
        understood=survey.understood,
        unread=survey.unread[:_NAMED],
        poor_files=tuple(find_poor_files(list(files.values()), sidecars)[:_NAMED]),
        languages_not_identified=(
            None if identified is None else tuple(lang for lang in languages if lang not in identified)
        ),
    )
    stage.write_json(DATA_CARD, asdict(card))
    return card


def read_card(stage: Folder) -> DataCard:
    """The card of finished shards. Raises MissingArtifact or CorruptArtifact."""
    return from_json(DataCard, stage.read_json(DATA_CARD), f"{stage.uri}/{DATA_CARD}")


def tell_survey(survey: Survey) -> None:
    """Log, before reading, what was understood and which files will not be read."""
    for line in survey.understood:
        log.info("%s", line)
    for line in tell_unread(survey.unread):
        log.warning("%s", line)


def tell_card(card: DataCard, where: str) -> None:
    """Log what was read and what was lost. ``where``: the folder of the rejected rows."""
    documents, rejected = sum(card.documents.values()), sum(card.rejects.values())
    reasons = ", ".join(f"{reason} {count}" for reason, count in card.rejects.items())
    log.info("%d documents in %d languages: %s", documents, len(card.languages), ", ".join(card.languages))
    if rejected:
        log.warning("%d rows are not used: %s; samples in %s", rejected, reasons, where)
    for line in tell_poor_files(card.poor_files):
        log.warning("poor file %s", line)
    if leaks := {lang: count for lang, count in card.held_out_in_training.items() if count}:
        told = ", ".join(f"{lang} {count} of {card.documents[f'{lang}/validation']}" for lang, count in leaks.items())
        log.warning(
            "held-out documents whose very text is trained on too: %s; perplexities of these languages look better"
            " than they are. corpus.near_duplicates=minhash drops what stands twice",
            told,
        )


def _sorted(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items()))


def _count_repeats(stage: Folder, lang: str) -> tuple[int, int]:
    """Training documents that repeat one, and held-out ones that are trained on; 8 bytes of memory per document."""
    trained, held_out = _digests(stage, lang, "train"), _digests(stage, lang, "validation")
    unique = np.unique(trained)
    return int(trained.size - unique.size), int(np.isin(held_out, unique).sum())


def _digests(stage: Folder, lang: str, split: str) -> NDArray[np.uint64]:
    digests = [np.empty(0, np.uint64)]
    for part in part_names(stage, lang, split):
        doc_ids = read_part(stage, lang, split, part, ["doc_id"])["doc_id"].to_pylist()
        digests.append(np.frombuffer(bytes.fromhex("".join(doc_ids)), dtype=">u8").astype(np.uint64))
    return np.concatenate(digests)
