"""What one task of the corpus pass reads: a source file, or a span of a large one; and how spans become files again."""

from __future__ import annotations

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

log = logging.getLogger(__name__)

PART_BYTES = 64 << 20
CPUS = 0.5
"""Of a task: half of its time it waits for the disk or the network."""
_OPENING_BYTES = 64 << 10
"""What opening a file costs, in bytes that could be read meanwhile."""


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


@dataclass(frozen=True)
class _Spans:
    spans: tuple[Span, ...]


def find_units(config: Config, files: Sequence[SourceFile], numbers: Iterable[int], stage: Folder) -> list[Unit]:
    """The units of these files, in order; where a large file is cut is found once and kept while the stage is made."""
    most = config.corpus.task_bytes
    large = {number: files[number] for number in numbers if (files[number].size_bytes or 0) > most}
    whole = {
        number: why for number, file in large.items() if (why := why_whole(file, config.corpus.max_documents_per_file))
    }
    for line in tell_whole([files[number] for number in whole], list(whole.values())):
        log.info("%s", line)
    asked = [number for number in large if number not in whole]
    known = set(stage.names(PIECES)) if asked else set()

    def cut_one(number: int) -> dict[str, int]:
        spans = find_spans(files[number], most)
        stage.write_json(spans_name(number), asdict(_Spans(tuple(spans))))
        return {"ranges": max(1, len(spans))}

    unknown = [number for number in asked if spans_name(number).rpartition("/")[2] not in known]
    run_part_tasks("cut", "large files", cut_one, unknown, CPUS)
    spans = {number: _read_spans(stage, number) for number in asked}
    uncut = [number for number in asked if len(spans[number]) <= 1]
    why = "it has no borders to be cut at, such as row groups, frames, or an object on each line"
    for line in tell_whole([files[number] for number in uncut], [why] * len(uncut)):
        log.info("%s", line)
    return [unit for number in numbers for unit in _units(number, files[number], spans.get(number, ()))]


def keep_whole(stage: Folder, number: int) -> None:
    """Say that a file is one unit from now on: it is torn, and what is kept of it depends on where reading began."""
    stage.write_json(spans_name(number), asdict(_Spans(())))
    stage.remove(f"{PIECES}/{unit_name(number)}")


def unit_bytes(units: Sequence[Unit]) -> dict[int, float]:
    """How much work each unit is, by its place."""
    counts: dict[int, int] = {}
    for unit in units:
        counts[unit.number] = counts.get(unit.number, 0) + 1
    return {
        at: float(max((unit.file.size_bytes or 0) // counts[unit.number], _OPENING_BYTES))
        for at, unit in enumerate(units)
    }


def torn_files(stage: Folder, units: Iterable[Unit]) -> list[int]:
    """Numbers of the files of which a span was read and no piece was made."""
    split = [unit for unit in units if unit.span is not None]
    return sorted({unit.number for unit in split if not unit.piece(stage).exists(PIECE)})


def join_pieces(units: Sequence[Unit], stage: Folder) -> None:
    """Write the parts, rejects and sidecars of the files whose spans were read, and remove their pieces."""
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

    run_part_tasks("plan of parts", "large files", plan_one, list(pieces), CPUS)
    joins = {number: _read_join(stage, number) for number in pieces}
    parts = [(number, part) for number, join in joins.items() for part in join.parts]

    def join_one(at: int) -> dict[str, int]:
        number, part = parts[at]
        return {"documents": join_part(pieces[number], part, number, stage)}

    run_part_tasks("join", "parts of large files", join_one, range(len(parts)), CPUS)
    for number, join in joins.items():
        stage.write_json(sidecar_name(number), asdict(join.sidecar))
        stage.remove(f"{PIECES}/{unit_name(number)}")


def _units(number: int, file: SourceFile, spans: Sequence[Span]) -> list[Unit]:
    if len(spans) <= 1:
        return [Unit(number, file)]
    return [Unit(number, replace(file, span=span), at) for at, span in enumerate(spans)]


def _read_spans(stage: Folder, number: int) -> tuple[Span, ...]:
    return from_json(_Spans, stage.read_json(spans_name(number)), f"{stage.uri}/{spans_name(number)}").spans


def _read_join(stage: Folder, number: int) -> Join:
    return from_json(Join, stage.read_json(_join_name(number)), f"{stage.uri}/{_join_name(number)}")


def _join_name(number: int) -> str:
    return f"{PIECES}/{unit_name(number)}/join.json"
