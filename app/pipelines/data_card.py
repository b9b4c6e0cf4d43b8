"""The data card: what a corpus held, what was read of it and what was not, for people and for later checks."""

from __future__ import annotations

import functools
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from app.artifacts.layout import DATA_CARD
from app.artifacts.store import Folder
from app.core.typed import from_json
from app.corpora.base import SourceFile, Survey, Unread
from app.corpora.losses import PoorFile, find_poor_files, tell_poor_files
from app.corpora.shards import read_sidecar
from app.corpora.unread import tell_unread
from app.pipelines.side_by_side import each

log = logging.getLogger(__name__)

# A corpus may have far more files that are not read; the card is read whole by jobs and by the page.
_NAMED = 1000
CountDuplicates = Callable[[Mapping[str, int], Mapping[str, int]], Mapping[str, tuple[int, int]]]
"""From documents, and bytes of text, by ``<lang>/<split>``: of each language the training documents whose text stood
before already, and the held-out ones whose text is trained on.
"""


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
    stage: Folder,
    files: Mapping[int, SourceFile],
    survey: Survey,
    identified: frozenset[str] | None,
    count_duplicates: CountDuplicates,
) -> tuple[DataCard, list[PoorFile]]:
    """Add up the sidecars of the files that were read, by their numbers, count duplicates, and write the card.

    Returns it and all poor files, of which it names the first. identified: languages that the identification knows,
    None if it is off.
    """
    sidecars = list(each(functools.partial(read_sidecar, stage), list(files)))
    documents, sizes, rejects = Counter[str](), Counter[str](), Counter[str]()
    by_language: dict[str, Counter[str]] = {}
    for file, sidecar in zip(files.values(), sidecars, strict=True):
        documents.update(sidecar.documents)
        sizes.update(sidecar.bytes)
        rejects.update(sidecar.rejects)
        if sidecar.rejects:
            # By the file's language: a row that cannot be read names none itself.
            by_language.setdefault(file.lang or "unknown", Counter()).update(sidecar.rejects)
    languages = sorted({name.partition("/")[0] for name in documents})
    repeats, poor = count_duplicates(documents, sizes), find_poor_files(list(files.values()), sidecars)
    card = DataCard(
        documents=_sorted(documents),
        bytes=_sorted(sizes),
        rejects=_sorted(rejects),
        rejects_by_language={lang: _sorted(counts) for lang, counts in sorted(by_language.items())},
        duplicates={lang: within for lang, (within, _) in repeats.items()},
        held_out_in_training={lang: across for lang, (_, across) in repeats.items()},
        understood=survey.understood,
        unread=survey.unread[:_NAMED],
        poor_files=tuple(poor[:_NAMED]),
        languages_not_identified=(
            None if identified is None else tuple(lang for lang in languages if lang not in identified)
        ),
    )
    stage.write_json(DATA_CARD, asdict(card))
    return card, poor


def read_card(stage: Folder) -> DataCard:
    """The card of finished shards. Raises MissingArtifact or CorruptArtifact."""
    return from_json(DataCard, stage.read_json(DATA_CARD), f"{stage.uri}/{DATA_CARD}")


def part_bytes(shards: Folder, parts: Sequence[tuple[str, str, str]]) -> dict[int, float]:
    """About how many bytes of text each (language, split, part) of finished shards has, by its place.

    The card knows bytes by language and split, not by part: parts of one split count alike.
    """
    counts, sizes = Counter((lang, split) for lang, split, _ in parts), read_card(shards).bytes
    return {at: sizes[f"{lang}/{split}"] / counts[lang, split] for at, (lang, split, _) in enumerate(parts)}


def tell_survey(survey: Survey) -> None:
    """Log, before reading, what was understood and which files will not be read."""
    for line in survey.understood:
        log.info("%s", line)
    for line in tell_unread(survey.unread):
        log.warning("%s", line)


def tell_card(card: DataCard, poor: Sequence[PoorFile], where: str) -> None:
    """Log what was read and what was lost. ``poor``: all poor files, ``where``: the folder of the rejected rows."""
    documents, rejected = sum(card.documents.values()), sum(card.rejects.values())
    reasons = ", ".join(f"{reason} {count}" for reason, count in card.rejects.items())
    log.info("%d documents in %d languages: %s", documents, len(card.languages), ", ".join(card.languages))
    if rejected:
        log.warning("%d rows are not used: %s; samples in %s", rejected, reasons, where)
    for line in tell_poor_files(poor, len(card.poor_files)):
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
