"""The section `corpus`: where text comes from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from app.config.fields import (
    Fraction,
    Names,
    NonNegativeFloat,
    NonNegativeInt,
    Off,
    Place,
    PositiveFloat,
    PositiveInt,
    Section,
)

SOURCE_PREFIX = "source:"


class ColumnsConfig(Section):
    """Names of the corpus's columns, ours to theirs."""

    text: str = "text"
    """Column with the document's text."""
    url: str = "url"
    """Column with the page's address; may be absent in the data."""
    timestamp: str = "timestamp"
    """Column with the page's time; may be absent in the data."""
    lang: str = "lang"
    """Column with the language, which goes before the names of file and folder; `lang` also finds `language`."""
    source: str = "source"
    """Column with the corpus a document came from, used by `quality_weights` alone."""


class CorpusConfig(Section):
    """Where text comes from."""

    source: Literal["almanac", "files", "mc4", "culturax", "madlad400", "madlad400-noisy", "fineweb2", "hplt"] = (
        "almanac"
    )
    """`almanac` (embedded, generated from CLDR), `files` (folder, glob or URI), or a corpus of the Hub by name."""
    path: Place = ""
    """Folder, file, glob or URI of `files`; for a corpus of the Hub a local copy in its layout (empty: the Hub)."""
    languages: Names = ("ar", "bg", "de", "el", "en", "es", "fr", "hi", "ja", "ko", "ru", "sw", "tr", "ur", "vi", "zh")
    """Languages to use (ISO 639-1, 639-3 where there is none); empty means all that are found."""
    columns: ColumnsConfig = ColumnsConfig()
    """Column map of `files`; for a corpus of the Hub what differs from its own."""
    revision: str = ""
    """Commit of the Hub's data set; empty means the one pinned with its layout."""
    max_files_per_language: NonNegativeInt = 0
    """Only the first files, by name, of each language and split; 0 means all."""
    max_documents_per_file: NonNegativeInt = 0
    """Only the first documents of each file; 0 means all."""
    max_line_bytes: PositiveInt = 16_000_000
    """Longer lines are rejected, bytes."""
    min_characters: NonNegativeInt = 1
    """Shorter texts are rejected as empty, characters."""
    validation_fraction: Fraction = 0.05
    """Share held out by hash of the document where the corpus brings no validation split."""
    documents_per_language: PositiveInt = 400
    """Training documents per language that the almanac writes."""
    validation_documents_per_language: PositiveInt = 40
    """Validation documents per language that the almanac writes."""
    task_bytes: PositiveInt = 256 << 20
    """Of files that one task reads: larger ones are cut where their format allows it, small ones share a task."""
    staging: Place = "artifacts/staging"
    """Local folder into which the Hub's files are downloaded once."""
    keep_staged: bool = False
    """Keep the Hub's files there after their shards are written; else each goes then."""
    retries: PositiveInt = 8
    """Tries per file before a download is given up."""
    retry_wait_seconds: PositiveFloat = 1.0
    """First wait between tries, seconds; doubles each time."""
    near_duplicates: Annotated[Literal["off", "minhash"], Off] = "off"
    """`minhash` drops each document that is nearly an earlier one of its language, in train and validation together."""
    near_duplicate_threshold: Annotated[float, Field(ge=0.5, le=0.95)] = 0.8
    """Similarity (Jaccard, of 5 successive characters) around which two documents begin to count as one."""
    language_identification: Annotated[Literal["off", "lingua"], Off] = "off"
    """`lingua` drops documents that are not in their language (extra `langid`); languages unknown to it are kept."""
    language_confidence: Fraction = 0.5
    """Least confidence of the identification in a document's language."""
    quality_weights: dict[str, NonNegativeFloat] = Field(default={})
    """Language -> factor on its share of the mixture; `source:<name>` -> share of its documents to keep, by hash."""
    mixture: Literal["uniform", "proportional", "temperature", "unimax"] = "uniform"
    """Distribution over languages that training draws from."""
    mixture_temperature: PositiveFloat = 0.3
    """Exponent of the token counts for `temperature`: 0 is uniform, 1 proportional."""
    mixture_max_epochs: PositiveFloat = 4.0
    """Most passes over one language's text for `unimax`, and as many as `enough_for_budget` counts on."""
    enough_for_budget: bool = False
    """Read no more files of a language than its share of the budget needs, for a `uniform` mixture."""

    @model_validator(mode="after")
    def _enough_can_be_known(self) -> CorpusConfig:
        if self.enough_for_budget and self.mixture != "uniform":
            raise ValueError(
                f"mixture={self.mixture} asks how much text there is; set corpus.enough_for_budget=false, or"
                " mixture=uniform"
            )
        if self.enough_for_budget and self.near_duplicates != "off":
            raise ValueError(
                "near-duplicates are looked for in every file; set corpus.enough_for_budget=false, or"
                " near_duplicates=off"
            )
        return self

    @model_validator(mode="after")
    def _sources_are_thinned(self) -> CorpusConfig:
        sources = {name: weight for name, weight in self.quality_weights.items() if name.startswith(SOURCE_PREFIX)}
        if more := [name for name, weight in sources.items() if weight > 1]:
            raise ValueError(f"quality_weights {more[0]}={sources[more[0]]} is above 1; a source can only be thinned")
        if nothing := [name for name, weight in self.quality_weights.items() if not weight and name not in sources]:
            raise ValueError(
                f"quality_weights {nothing[0]}=0 leaves nothing; take {nothing[0]} out of corpus.languages"
            )
        if sources and self.source == "almanac":
            raise ValueError("quality_weights names sources, but the almanac has one; weigh languages")
        return self
