"""How many documents and tokens each part holds, from the manifest of the tokens: no token file is opened for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from app.artifacts.layout import shard_folder
from app.core.errors import CorruptArtifact
from app.core.records import JsonObject, JsonValue

SPLITS = ("train", "validation")


@dataclass(frozen=True)
class PartCount:
    """One part, by its name without a suffix; ``bytes`` is the UTF-8 text that its tokens were made from."""

    name: str
    documents: int
    tokens: int
    bytes: int


@dataclass(frozen=True)
class TokenCounts:
    """Parts by (language, split), each in order of their names."""

    by_split: Mapping[tuple[str, str], tuple[PartCount, ...]]

    def languages(self, split: str = "train") -> tuple[str, ...]:
        """Languages with documents in this split, sorted."""
        return tuple(sorted(lang for lang, found in self.by_split if found == split and self.documents(lang, split)))

    def parts(self, lang: str, split: str) -> tuple[PartCount, ...]:
        """The parts of a language and split; none if it has no text there."""
        return self.by_split.get((lang, split), ())

    def part(self, lang: str, split: str, name: str) -> PartCount:
        """The part of this name. Raises KeyError where there is none."""
        return self._by_name[lang, split, name]

    @cached_property
    def _by_name(self) -> dict[tuple[str, str, str], PartCount]:
        return {(*where, part.name): part for where, parts in self.by_split.items() for part in parts}

    def documents(self, lang: str, split: str) -> int:
        """Documents of a language and split."""
        return sum(part.documents for part in self.parts(lang, split))

    def tokens(self, lang: str, split: str) -> int:
        """Tokens of a language and split, each document's end token included."""
        return sum(part.tokens for part in self.parts(lang, split))

    def bytes(self, lang: str, split: str) -> int:
        """UTF-8 bytes of a language's text in a split."""
        return sum(part.bytes for part in self.parts(lang, split))

    def training_tokens(self) -> dict[str, int]:
        """Training tokens of each language that has some."""
        return {lang: self.tokens(lang, "train") for lang in self.languages()}


def counts_to_json(languages: Iterable[str], parts: Iterable[tuple[str, str, PartCount]]) -> JsonObject:
    """What the manifest says: for each language and split its totals and its parts. parts: (lang, split, part)."""
    found: dict[tuple[str, str], list[PartCount]] = {(lang, split): [] for lang in languages for split in SPLITS}
    for lang, split, part in parts:
        found[lang, split].append(part)
    counts: JsonObject = {}
    for (lang, split), held in found.items():
        # The tasks end in any order; the manifest must not show it.
        held.sort(key=lambda part: part.name)
        rows: list[JsonValue] = [[part.name, part.documents, part.tokens, part.bytes] for part in held]
        totals = [sum(getattr(part, name) for part in held) for name in ("documents", "tokens", "bytes")]
        counts[shard_folder(lang, split)] = {
            **dict(zip(("documents", "tokens", "bytes"), totals, strict=True)),
            "parts": rows,
        }
    return counts


def counts_from_json(counts: Mapping[str, JsonValue], where: str) -> TokenCounts:
    """Inverse of ``counts_to_json``. Raises CorruptArtifact naming ``where``, the manifest's place."""
    found: dict[tuple[str, str], tuple[PartCount, ...]] = {}
    try:
        for name, entry in counts.items():
            lang, split = name.split("/")
            assert isinstance(entry, Mapping)
            rows = entry["parts"]
            assert isinstance(rows, list)
            found[lang, split] = tuple(PartCount(str(row[0]), *(int(count) for count in row[1:])) for row in rows)
    except (AssertionError, KeyError, ValueError, TypeError) as error:
        raise CorruptArtifact(
            f"{where}: {name!r} does not count documents and tokens of parts ({error}); delete its folder and run"
            " python -m jobs.tokenize again"
        ) from None
    return TokenCounts(found)
