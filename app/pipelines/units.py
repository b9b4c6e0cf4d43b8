"""What one task of the corpus pass reads: a source file, or a span of a large one; and how spans become files again."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace

from app.artifacts.layout import PIECES, piece_folder, sidecar_name, spans_name, unit_name
from app.artifacts.store import Folder
from app.config.schema import Config
from app.core.typed import from_json
from app.corpora.base import SourceFile, Span
from app.corpora.pieces import PIECE, Join, join_part, plan_join
from app.corpora.splitting import find_spans, tell_whole, why_whole
from app.pipelines.part_tasks import run_part_tasks
from app.pipelines.side_by_side import each

log = logging.getLogger(__name__)

# Text of one part, which is what a worker of a later stage holds at once.
PART_BYTES = 64 << 20
CPUS = 0.5
"""Of a task: half of its time it waits for the disk or the network."""
_OPENING_BYTES = 64 << 10
"""What opening a file costs, in bytes that could be read meanwhile."""
_UNKNOWN_BYTES = 1 << 20
"""Taken for a file whose size is not known, as it is not for text that is generated."""


@dataclass(frozen=True)
class Unit:
    """``number``: of the source file. ``span``: which of its spans, None for all of it; ``file`` names the same."""

    number: int
    file: SourceFile
    span: int | None = None

    @property
    def name(self) -> str:
        """For the names of what is made of it."""
        return unit_name(self.number, self.span)

    def piece(self, stage: Folder) -> Folder:
        """The folder of what was read of a span."""
        return stage.child(piece_folder(self.number, self.span or 0))


_NO_BORDERS = "it has no borders to be cut at, such as row groups, frames, or an object on each line"
_TORN = "it is torn, and what is kept of it depends on where reading begins"


@dataclass(frozen=True)
class _Cut:
    """Where a file is cut, or why it is not."""

    spans: tuple[Span, ...]
    why: str = ""


def find_units(config: Config, files: Sequence[SourceFile], numbers: Iterable[int], stage: Folder) -> list[Unit]:
    """The units of these files, in order; where a large file is cut is found once and kept while the stage is made."""
    numbers = list(numbers)
    cuts = _find_cuts(config, files, numbers, stage)
    return [unit for number in numbers for unit in _units(number, files[number], cuts.get(number))]


def tell_whole_files(config: Config, files: Sequence[SourceFile], numbers: Sequence[int], stage: Folder) -> None:
    """Log which of these files are large and still one task each, and why."""
    whole = {number: cut.why for number, cut in _find_cuts(config, files, numbers, stage).items() if cut.why}
    for line in tell_whole([files[number] for number in whole], list(whole.values())):
        log.info("%s", line)


def _find_cuts(config: Config, files: Sequence[SourceFile], numbers: Sequence[int], stage: Folder) -> dict[int, _Cut]:
    """Of the large ones of these files."""
    most = config.corpus.task_bytes
    large = [number for number in numbers if (files[number].size_bytes or 0) > most]
    cuts = {number: _Cut((), why_whole(files[number], config.corpus.max_documents_per_file)) for number in large}
    asked = [number for number in large if not cuts[number].why]
    # One listing: on a remote store a look for each file would be a request of its own.
    known = set(stage.names(PIECES)) if asked else set()

    def cut_one(number: int) -> dict[str, int]:
        spans = find_spans(files[number], most)
        cut = _Cut(tuple(spans)) if len(spans) > 1 else _Cut((), _NO_BORDERS)
        # Kept, and not found anew: pieces of an earlier attempt fit only the same borders, and task_bytes, which is
        # in no key, may be another now.
        stage.write_json(spans_name(number), asdict(cut))
        return {"ranges": max(1, len(spans))}

    unknown = [number for number in asked if spans_name(number).rpartition("/")[2] not in known]
    run_part_tasks("cut", "large files", cut_one, unknown, CPUS, dict.fromkeys(unknown, float(_OPENING_BYTES)), most)
    return cuts | dict(zip(asked, each(functools.partial(_read_cut, stage), asked), strict=True))


def keep_whole(stage: Folder, number: int) -> None:
    """Say that a file is one unit from now on, since it is torn."""
    # Before the pieces go: killed in between, it is known as torn and its pieces are never looked at.
    stage.write_json(spans_name(number), asdict(_Cut((), _TORN)))
    stage.remove(f"{PIECES}/{unit_name(number)}")


def missing(stage: Folder, names: Sequence[str]) -> list[int]:
    """Numbers of the files that are not there yet; all are in one folder."""
    done = set(stage.names(names[0].rpartition("/")[0])) if names else set()
    return [number for number, name in enumerate(names) if name.rpartition("/")[2] not in done]


def unit_bytes(units: Sequence[Unit]) -> dict[int, float]:
    """How much work each unit is, by its place."""
    counts: dict[int, int] = {}
    for unit in units:
        counts[unit.number] = counts.get(unit.number, 0) + 1
    return {at: float(max(_size(unit.file) // counts[unit.number], _OPENING_BYTES)) for at, unit in enumerate(units)}


def _size(file: SourceFile) -> int:
    return _UNKNOWN_BYTES if file.size_bytes is None else file.size_bytes


def torn_files(stage: Folder, units: Iterable[Unit]) -> list[int]:
    """Numbers of the files of which a span was read and no piece was made."""
    split = [unit for unit in units if unit.span is not None]
    return sorted({split[at].number for at in unread_pieces(stage, split)})


def unread_pieces(stage: Folder, units: Sequence[Unit]) -> list[int]:
    """Places of the spans of which no piece was made, or not all of it."""
    split = [at for at, unit in enumerate(units) if unit.span is not None]
    there = each(lambda at: units[at].piece(stage).exists(PIECE), split)
    return [at for at, is_there in zip(split, there, strict=True) if not is_there]


def join_pieces(units: Sequence[Unit], stage: Folder, most: float) -> None:
    """Write the parts, rejects and sidecars of the files whose spans were read, and remove their pieces.

    most: bytes of a task.
    """
    pieces: dict[int, list[Folder]] = {}
    files: dict[int, SourceFile] = {}
    for unit in units:
        if unit.span is not None:
            pieces.setdefault(unit.number, []).append(unit.piece(stage))
            files[unit.number] = replace(unit.file, span=None)

    def plan_one(number: int) -> dict[str, int]:
        join = plan_join(pieces[number], files[number], number, stage, PART_BYTES)
        stage.write_json(_join_name(number), asdict(join))
        return {"parts": len(join.parts)}

    small = dict.fromkeys(pieces, float(_OPENING_BYTES))
    run_part_tasks("plan of parts", "large files", plan_one, list(pieces), CPUS, small, most)
    joins = dict(zip(pieces, each(functools.partial(_read_join, stage), list(pieces)), strict=True))
    parts = [(number, part) for number, join in joins.items() for part in join.parts]

    def join_one(at: int) -> dict[str, int]:
        number, part = parts[at]
        return {"documents": join_part(pieces[number], part, number, stage)}

    mean = sum(sum(join.sidecar.bytes.values()) for join in joins.values()) / max(1, len(parts))
    sizes = dict.fromkeys(range(len(parts)), mean)
    # All of them, even if an earlier attempt was killed here: a part that is there is written again as it was.
    run_part_tasks("join", "parts of large files", join_one, range(len(parts)), CPUS, sizes, most)

    def end(number: int) -> None:
        # The sidecar says that the file is done: after all its parts, and before its pieces go. Killed in between,
        # nothing has to be read again.
        stage.write_json(sidecar_name(number), asdict(joins[number].sidecar))
        stage.remove(f"{PIECES}/{unit_name(number)}")

    for _ in each(end, list(joins)):
        pass


def _units(number: int, file: SourceFile, cut: _Cut | None) -> list[Unit]:
    if cut is None or not cut.spans:
        return [Unit(number, file)]
    return [Unit(number, replace(file, span=span), at) for at, span in enumerate(cut.spans)]


def _read_cut(stage: Folder, number: int) -> _Cut:
    return from_json(_Cut, stage.read_json(spans_name(number)), f"{stage.uri}/{spans_name(number)}")


def _read_join(stage: Folder, number: int) -> Join:
    return from_json(Join, stage.read_json(_join_name(number)), f"{stage.uri}/{_join_name(number)}")


def _join_name(number: int) -> str:
    return f"{PIECES}/{unit_name(number)}/join.json"
