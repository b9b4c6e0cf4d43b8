from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.preprocessing import normalize

from app.allocation.base import AllocationSettings, Evidence
from app.allocation.strategies import fit_allocation
from app.allocation.tfidf import TfidfAllocator, beginnings_of
from app.core.errors import AllocationError
from app.core.records import DocumentBatch, FloatArray, IntArray

KINDS = ["tokens", "char", "paper"]


@pytest.fixture
def allocator(
    request: pytest.FixtureRequest,
    token_allocator: TfidfAllocator,
    char_allocator: TfidfAllocator,
    paper_allocator: TfidfAllocator,
) -> TfidfAllocator:
    return {"tokens": token_allocator, "char": char_allocator, "paper": paper_allocator}[str(request.param)]


def fit(sample: DocumentBatch, k: int, settings: AllocationSettings) -> TfidfAllocator:
    fitted = fit_allocation(settings, Evidence(sample, None, {}), k, 7, ("en",))
    assert isinstance(fitted, TfidfAllocator)
    return fitted


def coordinates(allocator: TfidfAllocator, batch: DocumentBatch) -> FloatArray:
    """(n, d) unit vectors, or zero for a document without known terms."""
    rows: FloatArray = normalize(allocator.analyzer.counts(batch) @ allocator.projection)
    return rows


def by_language(langs: Sequence[str], assigned: IntArray, k: int) -> IntArray:
    """(languages, k) documents, languages in order of their codes."""
    return np.array([np.bincount(assigned[np.array(langs) == lang], minlength=k) for lang in sorted(set(langs))])


def grown_distances(allocator: TfidfAllocator, document: DocumentBatch, width: int) -> FloatArray:
    """Distances of one document that arrives in pieces: of its text, or of its tokens."""
    state = allocator.context(None)
    text, tokens = document.texts[0], document.tokens[0].tolist()
    for start in range(0, max(len(text), len(tokens)), width):
        state.extend(text[start : start + width], tokens[start : start + width])
    return state.distances()


@pytest.mark.parametrize("allocator", ["tokens", "char"], indirect=True)
def test_coordinates_equal_sklearns_tfidf_up_to_rotation(allocator: TfidfAllocator, sample: DocumentBatch) -> None:
    """Cosines between documents in our coordinates are close to those of the full TF-IDF vectors."""
    full = TfidfTransformer().fit_transform(allocator.analyzer.counts(sample))
    cosines = (full @ full.T).toarray()
    ours = coordinates(allocator, sample)
    assert np.linalg.norm(ours, axis=1) == pytest.approx(1.0)
    assert np.abs(ours @ ours.T - cosines).mean() < 0.1


@pytest.mark.parametrize("allocator", ["tokens", "char"], indirect=True)
def test_projection_is_rarity_times_svd(allocator: TfidfAllocator, sample: DocumentBatch) -> None:
    counts = allocator.analyzer.counts(sample)
    transformer = TfidfTransformer(norm=None).fit(counts)
    components = allocator.projection / transformer.idf_[:, None]
    gram = components.T @ components
    assert gram == pytest.approx(np.eye(gram.shape[0]), abs=1e-5)
    by_sklearn = normalize(transformer.transform(counts) @ components)
    assert coordinates(allocator, sample) == pytest.approx(by_sklearn, abs=1e-9)


@pytest.mark.parametrize("allocator", KINDS, indirect=True)
def test_a_document_goes_to_the_owner_of_its_nearest_centre_which_the_router_reports(
    allocator: TfidfAllocator, unseen: DocumentBatch
) -> None:
    rows, labels, distances = coordinates(allocator, unseen), allocator.assign(unseen), allocator.distances(unseen)
    for row in range(len(unseen)):
        if not rows[row].any():
            continue
        to_centres = [float(np.linalg.norm(rows[row] - centre)) for centre in allocator.centres]
        assert labels[row] == allocator.owners[int(np.argmin(to_centres))] == distances[row].argmin()
        for expert in range(len(allocator.experts)):
            own = [to_centres[c] for c in np.flatnonzero(allocator.owners == expert)]
            assert distances[row, expert] == pytest.approx(min(own), abs=1e-12)
        document = unseen.rows(row, row + 1)
        assert grown_distances(allocator, document, 10_000).argmin() == labels[row]


@pytest.mark.parametrize(
    ("analyzer", "k"), [("tokens", 2), ("tokens", 3), ("tokens", 4), ("tokens", 5), ("tokens", 6), ("char", 6)]
)
def test_no_language_is_divided_for_the_sake_of_balance(
    sample: DocumentBatch, unseen: DocumentBatch, analyzer: str, k: int
) -> None:
    """Six languages of equal size: whole ones fill k parts to within one language, and unseen text finds them."""
    settings = AllocationSettings("tfidf", analyzer=analyzer, max_features=4096, components=20)  # type: ignore[arg-type]
    fitted = fit(sample, k, settings)
    whole = by_language(unseen.langs, fitted.assign(unseen), k)
    assert whole.max(axis=1).tolist() == [40] * 6
    assert sorted(whole.sum(axis=0) // 40) == sorted(6 // k + (part < 6 % k) for part in range(k))
    early = by_language(unseen.langs, fitted.assign(beginnings_of(unseen)), k)
    assert np.array_equal(early.argmax(axis=1), whole.argmax(axis=1))
    assert early.max(axis=1).min() >= 0.9 * 40


def test_a_large_language_stays_whole_though_parts_get_uneven(sample: DocumentBatch) -> None:
    """One language of 40 documents, two of 10: two parts of 40 and 20, not of 30 and 30."""
    rows = [*range(40), *range(80, 90), *range(120, 130)]
    few = DocumentBatch(
        tuple(sample.doc_ids[row] for row in rows),
        tuple(sample.langs[row] for row in rows),
        (),
        tuple(sample.tokens[row] for row in rows),
    )
    fitted = fit(few, 2, AllocationSettings("tfidf", components=20))
    assert sorted(np.bincount(fitted.assign(few)).tolist()) == [20, 40]


def test_more_experts_than_languages_divide_the_languages_by_what_the_router_can_see(sample: DocumentBatch) -> None:
    english = sample.rows(0, 40)
    fitted = fit(english, 4, AllocationSettings("tfidf", components=20))
    sizes = np.bincount(fitted.assign(english), minlength=4)
    assert sizes.min() > 0 and sizes.max() <= 2 * sizes.mean()


def test_assignment_nearest_is_the_published_one_with_a_centre_for_each_expert(sample: DocumentBatch) -> None:
    fitted = fit(sample, 4, AllocationSettings("tfidf", components=20, assignment="nearest"))
    assert fitted.owners.tolist() == [0, 1, 2, 3]
    rows = coordinates(fitted, sample)
    expected = np.linalg.norm(rows[:, None] - fitted.centres, axis=2).argmin(axis=1)
    assert np.array_equal(fitted.assign(sample), expected)


def test_no_script_gives_zero_vectors(char_allocator: TfidfAllocator, unseen: DocumentBatch) -> None:
    assert np.abs(coordinates(char_allocator, unseen)).sum(axis=1).min() > 0


def test_the_papers_analyzer_loses_chinese(paper_allocator: TfidfAllocator, unseen: DocumentBatch) -> None:
    lost = np.abs(coordinates(paper_allocator, unseen)).sum(axis=1) == 0
    assert lost[np.array(unseen.langs) == "zh"].mean() > 0.5
    assert not lost[np.array(unseen.langs) == "en"].any()


@pytest.mark.parametrize("allocator", KINDS, indirect=True)
def test_assignment_is_independent_of_batching(allocator: TfidfAllocator, unseen: DocumentBatch) -> None:
    whole = allocator.assign(unseen)
    for row in range(len(whole)):
        assert allocator.assign(unseen.rows(row, row + 1))[0] == whole[row]
    assert np.array_equal(coordinates(allocator, unseen)[5:9], coordinates(allocator, unseen.rows(5, 9)))
    assert np.array_equal(allocator.distances(unseen)[5:9], allocator.distances(unseen.rows(5, 9)))


@pytest.mark.parametrize("width", [1, 3, 7, 1000])
@pytest.mark.parametrize("allocator", KINDS, indirect=True)
def test_a_growing_context_equals_the_whole_document(
    allocator: TfidfAllocator, unseen: DocumentBatch, width: int
) -> None:
    for row in range(0, len(unseen), 37):
        document = unseen.rows(row, row + 1)
        assert grown_distances(allocator, document, width) == pytest.approx(allocator.distances(document)[0], abs=1e-9)


@pytest.mark.parametrize("allocator", KINDS, indirect=True)
def test_an_empty_context_has_no_preference(allocator: TfidfAllocator) -> None:
    state = allocator.context(None)
    assert state.distances().tolist() == [1.0] * len(allocator.experts)
    state.extend("", [])
    state.extend("", [0, 1, 2, 10_000])  # start, end and padding are no terms, nor is an id beyond all others
    assert state.distances().tolist() == [1.0] * len(allocator.experts)


def test_extending_costs_the_new_text_only(char_allocator: TfidfAllocator) -> None:
    state = char_allocator.context(None)
    state.extend("река была холодной и широкой " * 20_000, [])
    started = time.perf_counter()
    for _ in range(200):
        state.extend("они ", [])
        state.distances()
    assert (time.perf_counter() - started) / 200 < 2e-3  # one pass over the old text takes 50 times as long


def test_fit_is_a_function_of_the_sample_and_the_seed(sample: DocumentBatch, token_allocator: TfidfAllocator) -> None:
    again = fit(sample, 4, AllocationSettings("tfidf", components=20))
    assert np.array_equal(again.centres, token_allocator.centres)
    assert np.array_equal(again.owners, token_allocator.owners)
    assert np.array_equal(again.projection, token_allocator.projection)


def test_needs_are_the_stage_that_the_analyzer_reads() -> None:
    from app.allocation.tfidf import TfidfStrategy

    assert TfidfStrategy(AllocationSettings()).needs == {"tokens"}
    assert TfidfStrategy(AllocationSettings(analyzer="char")).needs == {"documents"}
    assert TfidfStrategy(AllocationSettings(analyzer="paper")).needs == {"documents"}


def test_beginnings_are_the_first_32_tokens_and_128_characters_of_long_documents_and_half_of_short_ones() -> None:
    long, short = "ab" * 200, "abc"
    begun = beginnings_of(DocumentBatch(("1", "2"), ("en", "en"), (long, short), (np.arange(100), np.arange(5))))
    assert begun.texts == ("ab" * 64, "ab")
    assert [tokens.tolist() for tokens in begun.tokens] == [list(range(32)), [0, 1, 2]]


def test_more_experts_than_documents_are_refused() -> None:
    tiny = DocumentBatch(("1",), ("en",), ("river",), (np.array([5]),))
    with pytest.raises(AllocationError, match=r"allocation\.k is 2 but the sample has 1"):
        fit(tiny, 2, AllocationSettings("tfidf"))


@pytest.mark.parametrize("assignment", ["balanced", "nearest"])
@pytest.mark.parametrize("analyzer", KINDS)
def test_copies_of_one_document_are_refused_with_a_cure(analyzer: str, assignment: str) -> None:
    settings = AllocationSettings("tfidf", analyzer=analyzer, assignment=assignment)  # type: ignore[arg-type]
    copies = DocumentBatch(("1",) * 50, ("en",) * 50, ("cold river",) * 50, (np.array([5, 6, 6]),) * 50)
    with pytest.raises(AllocationError, match=r"only 1 are different.*near_duplicates=minhash"):
        fit(copies, 2, settings)


@pytest.mark.parametrize("texts", [("", "", ""), ("x", "y", "z")])
@pytest.mark.parametrize("analyzer", KINDS)
def test_documents_without_terms_are_an_error_of_ours(analyzer: str, texts: tuple[str, ...]) -> None:
    """Whatever scikit-learn would say of empty or one-column matrices."""
    settings = AllocationSettings("tfidf", analyzer=analyzer, max_features=1)  # type: ignore[arg-type]
    empty = DocumentBatch(("1", "2", "3"), ("en",) * 3, texts, (np.empty(0, dtype=np.int64),) * 3)
    with pytest.raises(AllocationError):
        fit(empty, 2, settings)


def test_a_sample_without_words_is_refused_by_the_papers_analyzer() -> None:
    tiny = DocumentBatch(("1", "2"), ("zh", "zh"), ("河", "水"))
    with pytest.raises(AllocationError, match="analyzer=tokens"):
        fit(tiny, 2, AllocationSettings("tfidf", analyzer="paper"))
