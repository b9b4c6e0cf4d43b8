"""Clustering documents: our TF-IDF allocation against the published pipeline in scikit-learn.

``python -m benchmarks.clustering [--small] [--corpus <folder>] [--format json]``. CPU seconds of fitting and of
assigning documents that were not fitted on, agreement of clusters with languages, and balance. ``ours`` counts the
tokens of a vocabulary of 4,096, which are there before an allocation is made, as in a run; ``ours_char`` is ours over
character n-grams, which reads the text. The published side:
words (numbers as one term, English stop words, at most 500,000 features), TruncatedSVD(100), unit length, balanced
k-means on squared distances (20 rounds), unseen documents to the nearest centre (arXiv 2303.14177 and 2401.10440 and
their code). ``same_terms`` is that pipeline with character n-grams of our lengths and our number of features.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, TfidfVectorizer
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import Normalizer

from app.allocation.balance import auction, equal_capacities, squared_distances
from app.allocation.base import AllocationSettings, Evidence
from app.allocation.tfidf import TfidfStrategy
from app.core.records import Document, DocumentBatch, FloatArray, IntArray, JsonObject
from app.tokens.tokenizer import Tokenizer, load_tokenizer, train_tokenizer
from benchmarks import measure
from benchmarks.text import read_text

Side = Callable[[str, int], JsonObject]

FIT, ASSIGN, BALANCE = 5.0, 5.0, 1.15
_COMPONENTS, _WORDS, _HASHES, _ROUNDS, _TOLERANCE = 100, 500_000, 65_536, 20, 1e-3
_STEPS_OF_THE_RANGE, _LEAST_STEP = 50, 1e-4
_SIDES = ("ours", "ours_char", "published", "same_terms")
_VOCABULARY = 4096
_SETTLE_SECONDS = 1.0
"""Threads of the fit's products wait in a loop for more: up to 0.1 CPU seconds that are none of the assignment's."""
TOKENIZER = "tokenizer"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit status."""
    made = measure.parser("clustering", __doc__)
    made.add_argument("--k", type=int, default=8, help="clusters")
    arguments = made.parse_args(argv)
    turns = arguments.turns or (2 if arguments.small else 5)
    per_language = 40 if arguments.small else 250
    with tempfile.TemporaryDirectory() as folder:
        write_documents(arguments.corpus, per_language, Path(folder))
        given: JsonObject = {"folder": folder, "k": arguments.k}
        runs = measure.in_turns([f"benchmarks.clustering:{side}" for side in _SIDES], given, turns)
    ours, ours_char, published, same = runs.values()
    record: JsonObject = {
        "benchmark": "clustering",
        "surroundings": measure.surroundings("scikit-learn", "scipy", "numpy", "torch"),
        "text": "corpus" if arguments.corpus else "almanac",
        "k": arguments.k,
        "documents_fitted": int(measure.number(ours[0], "documents_fitted")),
        "turns": turns,
        "fit_speed": measure.against(FIT, measure.ratio(published, ours, "fit_cpu_seconds"), True),
        "assignment_speed": measure.against(ASSIGN, measure.ratio(published, ours, "assign_cpu_seconds"), True),
        "agreement": measure.against(1.0, measure.ratio(ours, published, "normalised_mutual_information"), True),
        "rand_index": measure.ratio(ours, published, "adjusted_rand_index"),
        "balance_on_unseen": {"max_over_mean": measure.number(ours[0], "max_over_mean"), "target": f"<= {BALANCE}"},
        "fit_speed_same_terms": measure.ratio(same, ours_char, "fit_cpu_seconds"),
        "assignment_speed_same_terms": measure.ratio(same, ours_char, "assign_cpu_seconds"),
        "agreement_with_char": measure.ratio(ours, ours_char, "normalised_mutual_information"),
        **{side: measure.medians(results) for side, results in zip(_SIDES, runs.values(), strict=True)},
    }
    measure.show(record, arguments.format)
    return 0


def write_documents(corpus: str, per_language: int, folder: Path) -> None:
    """``fitted.json`` and ``unseen.json``: as many documents of each language in both; and a tokenizer, trained on the
    former.
    """
    documents = read_text(corpus, 2 * per_language)
    by_language: dict[str, list[Document]] = {}
    for document in documents:
        by_language.setdefault(document.lang, []).append(document)
    for number, name in enumerate(("fitted", "unseen")):
        part = [document for found in by_language.values() for document in found[number::2]]
        (folder / f"{name}.json").write_text(json.dumps([asdict(document) for document in part]))
    train_tokenizer((document.text for document in _read(str(folder), "fitted")), _VOCABULARY, str(folder / TOKENIZER))


def ours(folder: str, k: int) -> JsonObject:
    """Our allocation with the configuration's defaults."""
    return _allocated(folder, k, "tokens")


def ours_char(folder: str, k: int) -> JsonObject:
    """Our allocation over character n-grams."""
    return _allocated(folder, k, "char")


def _allocated(folder: str, k: int, analyzer: Literal["tokens", "char"]) -> JsonObject:
    settings = AllocationSettings("tfidf", analyzer=analyzer, max_features=_HASHES, components=_COMPONENTS)
    fitted, unseen = _read(folder, "fitted"), _read(folder, "unseen")
    tokenizer = load_tokenizer(str(Path(folder) / TOKENIZER))
    sample, batch = _batch(fitted, tokenizer), _batch(unseen, tokenizer)
    with measure.measured() as fitting:
        allocator = TfidfStrategy(settings).fit(Evidence(documents=sample, typology=None, probes={}), k, 0)
    time.sleep(_SETTLE_SECONDS)
    with measure.measured() as assigning:
        labels = allocator.assign(batch)
    terms = allocator.analyzer.counts(batch).nnz / len(unseen)
    return _figures(fitted, unseen, k, labels, fitting, assigning, terms)


def published(folder: str, k: int) -> JsonObject:
    """The published pipeline, its words as published."""
    vectorizer = _NumberedWords(stop_words=list(ENGLISH_STOP_WORDS), max_features=_WORDS)
    return _pipeline(folder, k, vectorizer)


def same_terms(folder: str, k: int) -> JsonObject:
    """The same pipeline over character n-grams."""
    return _pipeline(folder, k, TfidfVectorizer(analyzer="char", ngram_range=(1, 4), max_features=_HASHES))


class _NumberedWords(TfidfVectorizer):
    def build_tokenizer(self) -> Callable[[str], list[str]]:
        words = super().build_tokenizer()
        return lambda text: ["#NUMBER" if word[0].isdigit() else word for word in words(text)]


def _pipeline(folder: str, k: int, vectorizer: TfidfVectorizer) -> JsonObject:
    fitted, unseen = _read(folder, "fitted"), _read(folder, "unseen")
    texts, new = [document.text for document in fitted], [document.text for document in unseen]
    model: Pipeline = make_pipeline(vectorizer, TruncatedSVD(_COMPONENTS, random_state=0), Normalizer(copy=False))
    with measure.measured() as fitting:
        centres = balanced_centres(model.fit_transform(texts), k)
    time.sleep(_SETTLE_SECONDS)
    with measure.measured() as assigning:
        labels = squared_distances(model.transform(new), centres).argmin(axis=1)
    terms = vectorizer.transform(new).nnz / len(new)
    return _figures(fitted, unseen, k, labels, fitting, assigning, terms)


def balanced_centres(rows: FloatArray, k: int) -> FloatArray:
    """Balanced k-means from rows drawn at random, by an auction with steps of a fiftieth of the range of distances."""
    centres = rows[np.random.default_rng(0).choice(len(rows), k, replace=False)]
    for _ in range(_ROUNDS):
        distances = squared_distances(rows, centres)
        step = max(float(distances.max() - distances.min()) / _STEPS_OF_THE_RANGE, _LEAST_STEP)
        labels = auction(distances, equal_capacities(len(rows), k), step).labels
        moved = np.stack([rows[labels == part].mean(axis=0) for part in range(k)])
        shift = np.linalg.norm(moved - centres, axis=1).sum()
        centres = moved
        if shift**2 < _TOLERANCE:
            break
    return centres


def _figures(
    fitted: Sequence[Document],
    unseen: Sequence[Document],
    k: int,
    labels: IntArray,
    fitting: measure.Usage,
    assigning: measure.Usage,
    terms_per_document: float,
) -> JsonObject:
    langs = [document.lang for document in unseen]
    sizes = np.bincount(labels, minlength=k)
    return {
        "documents_fitted": len(fitted),
        "fit_cpu_seconds": fitting.cpu_seconds,
        "assign_cpu_seconds": assigning.cpu_seconds,
        "terms_per_document": terms_per_document,
        "normalised_mutual_information": float(normalized_mutual_info_score(langs, labels)),
        "adjusted_rand_index": float(adjusted_rand_score(langs, labels)),
        "max_over_mean": float(sizes.max() / sizes.mean()),
        "floor_cpu_seconds": floor_seconds(unseen, terms_per_document, k),
        "peak_bytes": assigning.peak_bytes,
    }


def floor_seconds(documents: Sequence[Document], terms_per_document: float, k: int) -> float:
    """Least CPU seconds of an assignment: its text read once, its sums and distances at the speed of a bare product."""
    text = sum(len(document.text.encode()) for document in documents) / measure.copied_bytes_per_cpu_second()
    flops = 2 * len(documents) * _COMPONENTS * (terms_per_document + k)
    return text + flops / measure.gemm_flops_per_cpu_second()


def _read(folder: str, name: str) -> list[Document]:
    rows: list[dict[str, Any]] = json.loads((Path(folder) / f"{name}.json").read_text())
    return [Document(**row) for row in rows]


def _batch(documents: Sequence[Document], tokenizer: Tokenizer) -> DocumentBatch:
    texts = tuple(document.text for document in documents)
    ids, langs = tuple(document.doc_id for document in documents), tuple(document.lang for document in documents)
    return DocumentBatch(ids, langs, texts, tuple(tokenizer.encode_batch(texts)))


if __name__ == "__main__":
    sys.exit(main())
