"""Documents as an allocation looks at them: token ids from the tokens stage, or texts from the shards, part by part."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from app.allocation.base import Column
from app.artifacts.store import StageFolder
from app.core.records import DocumentBatch
from app.corpora.base import is_drawn
from app.corpora.shards import part_names, read_part
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
        corpus = _corpus(self.stage)
        count = corpus.counts.parts(lang, split)[self._names(lang, split).index(part)]
        head = 0 if corpus.start_id == corpus.end_id else 1
        documents = list(corpus.documents_of(lang, split, count))
        tokens = tuple(document.ids[head:-1] for document in documents)
        return DocumentBatch(tuple(document.doc_id for document in documents), (lang,) * len(tokens), (), tokens)

    def _names(self, lang: str, split: str) -> list[str]:
        if self.column == "texts":
            return part_names(self.stage, lang, split)
        return [f"{part.name}.parquet" for part in _corpus(self.stage).counts.parts(lang, split)]


def draw_sample(source: DocumentSource, languages: Sequence[str], documents: int, wanted: int) -> DocumentBatch:
    """About ``wanted`` of the ``documents`` training documents, drawn by their hash: the same in every run."""
    share = wanted / max(1, documents)
    doc_ids, langs, texts, tokens = list[str](), list[str](), list[str](), []
    for item in source.parts(languages, "train"):
        batch = source.read(*item)
        drawn = [row for row, doc_id in enumerate(batch.doc_ids) if is_drawn(doc_id, b"sample", share)]
        doc_ids += [batch.doc_ids[row] for row in drawn]
        langs += [batch.langs[row] for row in drawn]
        texts += [batch.texts[row] for row in drawn if batch.texts]
        tokens += [batch.tokens[row] for row in drawn if batch.tokens]
    return DocumentBatch(tuple(doc_ids), tuple(langs), tuple(texts), tuple(tokens))


@functools.lru_cache(maxsize=1)
def _corpus(stage: StageFolder) -> TokenCorpus:
    return TokenCorpus.open(stage)
