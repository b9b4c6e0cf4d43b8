from __future__ import annotations

import pytest

from app.core.errors import ConfigError
from app.evaluation.published import load_published, published_baseline, published_matrix

PAPER_LANGUAGES = {"ar", "bg", "de", "el", "en", "es", "fr", "hi", "ja", "ko", "ru", "sw", "tr", "ur", "vi", "zh"}


def test_every_model_has_a_figure_in_each_of_the_papers_languages() -> None:
    models: dict[tuple[str, int, int | None], set[str]] = {}
    for row in load_published():
        assert row.source and row.perplexity > 1
        models.setdefault((row.allocation, row.k, row.expert), set()).add(row.language)
    assert len(models) == 1 + 2 * (4 + 8)
    assert all(languages == PAPER_LANGUAGES for languages in models.values())


def test_a_matrix_has_a_column_for_each_expert() -> None:
    matrix = published_matrix("typological", 8)
    assert set(matrix) == PAPER_LANGUAGES and {len(row) for row in matrix.values()} == {8}
    assert published_baseline()["ar"] == 16.659


def test_a_published_typological_expert_is_best_in_its_own_languages() -> None:
    matrix = published_matrix("typological", 8)
    best = {lang: min(range(8), key=row.__getitem__) for lang, row in matrix.items()}
    for pair in ("en-es", "de-el", "ja-ko", "hi-ur", "bg-ru", "fr-ar", "tr-zh", "vi-sw"):
        first, second = pair.split("-")
        assert best[first] == best[second]


def test_what_was_not_published_is_refused_with_what_was() -> None:
    with pytest.raises(ConfigError, match="typological k=16; there are: tfidf k=4, tfidf k=8, typological k=4"):
        published_matrix("typological", 16)
