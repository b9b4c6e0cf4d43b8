"""Documents as an allocation looks at them: token ids from the tokens stage, or texts from the shards, part by part."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from app.allocation.base import Column
from app.artifacts.store import Folder, StageFolder
from app.config.schema import Config
from app.core.records import DocumentBatch
from app.corpora.base import is_drawn
from app.corpora.shards import part_names, read_part
from app.fleet.ray_session import ray_session
from app.pipelines.data_card import part_bytes
from app.pipelines.part_tasks import run_part_tasks
from app.pipelines.side_by_side import each
from app.pipelines.units import missing
from app.tokens.dataset import TokenCorpus


@dataclass(frozen=True)
class DocumentSource:
    """A stage of documents in parts; the parts of shards and of their tokens have the same names and rows.

    column: what is read; ``tokens`` of a tokens stage, ``texts`` of shards.
    """

    stage: StageFolder
    column: Column

    def parts(self, languages: Sequence[str], split: str) -> list[tuple[str, str, str]]:
        """(language, split, part) of all parts, in order."""
        return [(lang, split, part) for lang in languages for part in self._names(lang, split)]

    def read(self, lang: str, split: str, part: str) -> DocumentBatch:
        """The documents of one part, in row order."""
        if self.column == "texts":
            table = read_part(self.stage, lang, split, part, ["doc_id", "lang", "text"])
            doc_ids, langs, texts = (tuple(table[name].to_pylist()) for name in ("doc_id", "lang", "text"))
            return DocumentBatch(doc_ids, langs, texts)
        corpus = opened_corpus(self.stage)
        count = corpus.counts.part(lang, split, part.removesuffix(".parquet"))
        # Without start and end token: a request to be routed comes without them too, and both must be measured alike.
        head = 0 if corpus.start_id == corpus.end_id else 1
        documents = list(corpus.documents_of(lang, split, count))
        tokens = tuple(document.ids[head:-1] for document in documents)
        return DocumentBatch(tuple(document.doc_id for document in documents), (lang,) * len(tokens), (), tokens)

    def sizes(self, parts: Sequence[tuple[str, str, str]]) -> dict[int, float]:
        """About how many bytes of text each of these parts has, by its place."""
        if self.column == "texts":
            return part_bytes(self.stage, parts)
        counts = opened_corpus(self.stage).counts
        splits = dict.fromkeys((lang, split) for lang, split, _ in parts)
        held = {(*where, f"{part.name}.parquet"): part.bytes for where in splits for part in counts.parts(*where)}
        return {at: float(held[item]) for at, item in enumerate(parts)}

    def _names(self, lang: str, split: str) -> list[str]:
        if self.column == "texts":
            return part_names(self.stage, lang, split)
        return [f"{part.name}.parquet" for part in opened_corpus(self.stage).counts.parts(lang, split)]


def draw_sample(
    config: Config,
    source: DocumentSource,
    languages: Sequence[str],
    documents: int,
    wanted: int,
    folder: Folder,
) -> DocumentBatch:
    """About ``wanted`` of the ``documents`` training documents, drawn by their hash: the same in every run.

    Each part's are drawn where it is read and stand in ``folder`` from then on; only they are read here.
    """
    share, parts = wanted / max(1, documents), source.parts(languages, "train")
    names = [_sample_name(number) for number in range(len(parts))]
    # One listing: on a remote store a look for each part would be a request of its own, one after the other.
    waiting = missing(folder, names)

    def draw_part(number: int) -> dict[str, int]:
        found = drawn(source.read(*parts[number]), share)
        folder.write(names[number], batch_file(found))
        return {"documents": len(found)}

    def known(number: int) -> dict[str, int] | None:
        name = names[number]
        return {"documents": len(read_batch(folder.read(name)))} if folder.exists(name) else None

    if waiting:
        with ray_session(config.cluster):
            sizes, most = source.sizes(parts), config.corpus.task_bytes
            run_part_tasks("sample", "parts", draw_part, waiting, 1.0, sizes, most, known=known)
    return joined([read_batch(data) for data in each(folder.read, names)])


def drawn(batch: DocumentBatch, share: float) -> DocumentBatch:
    """The documents of a batch that are in a sample of this share, by their hash."""
    # By another hash than the split's: training documents are those beyond a share of that one, so a small
    # sample by it would be empty.
    rows = [row for row, doc_id in enumerate(batch.doc_ids) if is_drawn(doc_id, b"sample", share)]
    return joined([batch.rows(row, row + 1) for row in rows])


def joined(batches: Sequence[DocumentBatch]) -> DocumentBatch:
    """The documents of all batches, in order."""
    return DocumentBatch(
        tuple(doc_id for batch in batches for doc_id in batch.doc_ids),
        tuple(lang for batch in batches for lang in batch.langs),
        tuple(text for batch in batches for text in batch.texts),
        tuple(ids for batch in batches for ids in batch.tokens),
    )


def batch_file(batch: DocumentBatch) -> bytes:
    """A batch as a parquet file; a column that is empty is left out."""
    columns: dict[str, pa.Array] = {"doc_id": pa.array(batch.doc_ids, pa.string()), "lang": pa.array(batch.langs)}
    if batch.texts:
        # The large types: offsets of 32 bits end at 2 GiB in one column.
        columns["text"] = pa.array(batch.texts, pa.large_string())
    if batch.tokens:
        columns["tokens"] = pa.array(batch.tokens, pa.large_list(pa.int64()))
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink, compression="zstd")
    return bytes(sink.getvalue().to_pybytes())


def read_batch(data: bytes) -> DocumentBatch:
    """Inverse of ``batch_file``."""
    table = pq.read_table(pa.BufferReader(data))
    texts = tuple(table["text"].to_pylist()) if "text" in table.column_names else ()
    tokens = table["tokens"].to_pylist() if "tokens" in table.column_names else []
    ids = tuple(np.asarray(row, dtype=np.int64) for row in tokens)
    return DocumentBatch(tuple(table["doc_id"].to_pylist()), tuple(table["lang"].to_pylist()), texts, ids)


def _sample_name(number: int) -> str:
    return f"part-{number:07d}.parquet"


# A worker reads many parts of one stage, whose manifest is read for the first one only.
@functools.lru_cache(maxsize=1)
def opened_corpus(stage: StageFolder) -> TokenCorpus:
    """The tokens of a stage, opened once in a process."""
    return TokenCorpus.open(stage)
