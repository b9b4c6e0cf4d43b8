from __future__ import annotations

import time

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.preprocessing import normalize

from app.allocation.base import AllocationSettings, DocumentSample, Evidence
from app.allocation.part_sizes import allocation_report
from app.allocation.strategies import fit_allocation
from app.allocation.tfidf import TfidfAllocator, count_terms
from app.core.errors import AllocationError
from app.core.records import DocumentBatch


def batch_of(sample: DocumentSample) -> DocumentBatch:
    return DocumentBatch(sample.doc_ids, sample.langs, sample.texts)


def grown_distances(allocator: TfidfAllocator, pieces: list[str]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    state = allocator.context(None)
    for piece in pieces:
        state.extend(piece)
    return state.distances()


def test_coordinates_equal_sklearns_tfidf_up_to_rotation(
    char_allocator: TfidfAllocator, sample: DocumentSample
) -> None:
    """Cosines between documents in our coordinates are close to those of the full TF-IDF vectors."""
    full = TfidfTransformer().fit_transform(count_terms(char_allocator.analyzer, sample.texts))
    cosines = (full @ full.T).toarray()
    ours = char_allocator.coordinates(sample.texts)
    assert np.linalg.norm(ours, axis=1) == pytest.approx(1.0)
    assert np.abs(ours @ ours.T - cosines).mean() < 0.1


def test_projection_is_rarity_times_svd(char_allocator: TfidfAllocator, sample: DocumentSample) -> None:
    counts = count_terms(char_allocator.analyzer, sample.texts)
    transformer = TfidfTransformer(norm=None).fit(counts)
    components = char_allocator.projection / transformer.idf_[:, None]
    gram = components.T @ components
    assert gram == pytest.approx(np.eye(gram.shape[0]), abs=1e-5)
    by_sklearn = normalize(transformer.transform(counts) @ components)
    assert char_allocator.coordinates(sample.texts) == pytest.approx(by_sklearn, abs=1e-9)


def test_six_experts_get_the_six_languages(sample: DocumentSample, unseen: DocumentSample) -> None:
    settings = AllocationSettings("tfidf", max_features=4096, components=20)
    fitted = fit_allocation(settings, Evidence(sample, None, {}), 6, 7, ("en",))
    report = allocation_report(unseen.langs, fitted.assign(batch_of(unseen)), 6)
    assert sorted(report.by_language.argmax(axis=1).tolist()) == [0, 1, 2, 3, 4, 5]
    assert report.by_language.max(axis=1).tolist() == [40] * 6


def test_no_script_gives_zero_vectors(char_allocator: TfidfAllocator, unseen: DocumentSample) -> None:
    assert np.abs(char_allocator.coordinates(unseen.texts)).sum(axis=1).min() > 0


def test_the_papers_analyzer_loses_chinese(paper_allocator: TfidfAllocator, unseen: DocumentSample) -> None:
    lost = np.abs(paper_allocator.coordinates(unseen.texts)).sum(axis=1) == 0
    assert lost[np.array(unseen.langs) == "zh"].mean() > 0.5
    assert not lost[np.array(unseen.langs) == "en"].any()


def test_parts_are_balanced_on_unseen_text(char_allocator: TfidfAllocator, unseen: DocumentSample) -> None:
    labels = char_allocator.assign(batch_of(unseen))
    assert allocation_report(unseen.langs, labels, 4).max_over_mean <= 1.15


def test_balanced_assignment_is_more_even_than_nearest(sample: DocumentSample, unseen: DocumentSample) -> None:
    uneven = DocumentSample(sample.doc_ids[:120], sample.langs[:120], sample.texts[:120])  # en de ru
    other = DocumentSample(unseen.doc_ids[:120], unseen.langs[:120], unseen.texts[:120])
    reports = {}
    for assignment in ("balanced", "nearest"):
        settings = AllocationSettings("tfidf", max_features=4096, components=20, assignment=assignment)
        fitted = fit_allocation(settings, Evidence(uneven, None, {}), 2, 7, ("en",))
        reports[assignment] = allocation_report(other.langs, fitted.assign(batch_of(other)), 2).max_over_mean
    assert reports["balanced"] <= 1.15
    assert reports["balanced"] <= reports["nearest"]


def test_assignment_is_independent_of_batching(char_allocator: TfidfAllocator, unseen: DocumentSample) -> None:
    whole = char_allocator.assign(batch_of(unseen))
    for row in range(len(whole)):
        one = DocumentBatch((unseen.doc_ids[row],), (unseen.langs[row],), (unseen.texts[row],))
        assert char_allocator.assign(one)[0] == whole[row]
    assert np.array_equal(char_allocator.coordinates(unseen.texts)[5:9], char_allocator.coordinates(unseen.texts[5:9]))


@pytest.mark.parametrize("width", [1, 3, 7, 1000])
def test_a_growing_context_equals_the_whole_text(
    char_allocator: TfidfAllocator, paper_allocator: TfidfAllocator, unseen: DocumentSample, width: int
) -> None:
    for allocator in (char_allocator, paper_allocator):
        for text in unseen.texts[::37]:
            pieces = [text[start : start + width] for start in range(0, len(text), width)]
            whole = allocator.distances([text])[0]
            expected = whole if allocator.coordinates([text]).any() else np.ones_like(whole)
            assert grown_distances(allocator, pieces) == pytest.approx(expected, abs=1e-9)


def test_an_empty_context_has_no_preference(char_allocator: TfidfAllocator) -> None:
    assert grown_distances(char_allocator, []).tolist() == [1.0] * 4
    assert grown_distances(char_allocator, ["", ""]).tolist() == [1.0] * 4


def test_extending_costs_the_new_text_only(char_allocator: TfidfAllocator) -> None:
    state = char_allocator.context(None)
    state.extend("река была холодной и широкой " * 20_000)
    started = time.perf_counter()
    for _ in range(200):
        state.extend("они ")
        state.distances()
    assert (time.perf_counter() - started) / 200 < 2e-3  # one pass over the old text takes 50 times as long


def test_fit_is_a_function_of_the_sample_and_the_seed(sample: DocumentSample, char_allocator: TfidfAllocator) -> None:
    settings = AllocationSettings("tfidf", max_features=4096, components=20)
    again = fit_allocation(settings, Evidence(sample, None, {}), 4, 7, ("en",))
    assert isinstance(again, TfidfAllocator)
    assert np.array_equal(again.centres, char_allocator.centres)
    assert np.array_equal(again.projection, char_allocator.projection)


def test_more_experts_than_documents_are_refused() -> None:
    tiny = DocumentSample(("1",), ("en",), ("river",))
    with pytest.raises(AllocationError, match=r"allocation\.k is 2 but the sample has 1"):
        fit_allocation(AllocationSettings("tfidf"), Evidence(tiny, None, {}), 2, 0, ("en",))


def test_a_sample_without_words_is_refused_by_the_papers_analyzer() -> None:
    tiny = DocumentSample(("1", "2"), ("zh", "zh"), ("河", "水"))
    with pytest.raises(AllocationError, match="analyzer=char"):
        fit_allocation(AllocationSettings("tfidf", analyzer="paper"), Evidence(tiny, None, {}), 2, 0, ("zh",))
