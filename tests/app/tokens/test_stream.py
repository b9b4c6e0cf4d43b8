from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.core.records import Array, IntArray
from app.core.seeding import generator
from app.tokens import stream
from app.tokens.counts import PartCount
from app.tokens.dataset import TokenCorpus
from app.tokens.stream import Chosen, LanguageStream
from tests.support.token_store import Texts, numbered, write_corpus


def rows_of(language: LanguageStream, length: int, count: int) -> list[list[int]]:
    out = np.zeros((count, length + 1), dtype=np.int64)
    for ordinal in range(count):
        language.read(ordinal, out[ordinal])
    return out.tolist()


def brute_force(
    parts: list[list[list[int]]], length: int, count: int, seed: int, window_tokens: int
) -> list[list[int]]:
    """Materialise the stream window by window, cut it into rows, shuffle those that start in a window."""
    tokens: list[int] = []
    windows: list[tuple[int, int, int, int]] = []
    for epoch in itertools.count():
        if len(tokens) > (count + 2) * length + sum(len(document) for part in parts for document in part):
            break
        grouped: list[list[int]] = []
        for number in generator(seed, "parts", "de", epoch).permutation(len(parts)).tolist():
            size = sum(map(len, parts[number]))
            if not grouped or sum(len(d) for n in grouped[-1] for d in parts[n]) + size > window_tokens:
                grouped.append([])
            grouped[-1].append(number)
        for w, group in enumerate(grouped):
            documents = [document for number in group for document in parts[number]]
            order = generator(seed, "documents", "de", epoch, w).permutation(len(documents))
            start = len(tokens)
            tokens += [token for i in order for token in documents[i]]
            windows.append((epoch, w, start, len(tokens)))
    out: list[list[int]] = []
    for epoch, w, start, end in windows:
        starts = [at for at in range(0, len(tokens), length) if start <= at < end]
        order = generator(seed, "rows", "de", epoch, w).permutation(len(starts))
        out += [tokens[starts[i] : starts[i] + length + 1] for i in order]
    return out[:count]


lengths = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=6), min_size=1, max_size=5)


@given(lengths, st.integers(1, 5), st.integers(1, 40), st.integers(0, 3), st.sampled_from([1, 8, 25, 10_000]))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_are_those_of_the_materialised_stream(
    tmp_path_factory: pytest.TempPathFactory,
    parts: list[list[int]],
    length: int,
    count: int,
    seed: int,
    window: int,
) -> None:
    texts = numbered({"de": parts})
    corpus = write_corpus(tmp_path_factory.mktemp("tokens"), texts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "WINDOW_BYTES", 2 * window)
        found = rows_of(LanguageStream(corpus, "de", length, seed), length, count)
    assert found == brute_force(texts["de"], length, count, seed, window)


def test_each_token_but_the_first_is_predicted_once_an_epoch(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path, numbered({"de": [[8, 4, 12, 8, 8], [7, 3]]}))
    every, missed = Counter(range(1, 51)), 0
    for seed in range(5):
        rows = rows_of(LanguageStream(corpus, "de", 5, seed), 5, 10)
        predicted = Counter(token for row in rows for token in row[1:])
        missing, again = every - predicted, predicted - every
        # the last row ends with the first token of the next epoch: it may be the very one that nothing came before
        assert missing.total() == again.total() <= 1 and set(missing) <= {row[0] for row in rows}
        missed += missing.total()
    assert missed


def test_a_row_is_the_same_whichever_was_read_before(tmp_path: Path) -> None:
    texts = numbered({"de": [[9, 7], [30], [12] * 4]})
    corpus = write_corpus(tmp_path, texts)
    whole = rows_of(LanguageStream(corpus, "de", 4, 1), 4, 60)
    again, out = LanguageStream(corpus, "de", 4, 1), np.zeros(5, dtype=np.int64)
    for ordinal in (59, 0, 31, 7, 31):
        again.read(ordinal, out)
        assert out.tolist() == whole[ordinal]
    assert rows_of(LanguageStream(corpus, "de", 4, 2), 4, 60) != whole


class Counting:
    """A source that keeps which parts it was asked for."""

    def __init__(self, corpus: TokenCorpus) -> None:
        self.corpus, self.indexed, self.opened = corpus, list[str](), list[str]()
        self.expected: list[tuple[list[str], list[str]]] = []

    def index(self, lang: str, split: str, part: PartCount) -> Array:
        self.indexed.append(part.name)
        return self.corpus.index(lang, split, part)

    def ids(self, lang: str, split: str, part: PartCount) -> Array:
        self.opened.append(part.name)
        return self.corpus.ids(lang, split, part)

    def expect(self, lang: str, split: str, now: Sequence[PartCount], soon: Sequence[PartCount]) -> None:
        self.expected.append(([part.name for part in now], [part.name for part in soon]))


def counted(corpus: TokenCorpus) -> tuple[TokenCorpus, Counting]:
    source = Counting(corpus)
    meta = {"dtype": "uint16", "vocab_size": 60_000, "start_id": 0, "end_id": 0, "pad_id": 1}
    return TokenCorpus(meta, corpus.counts, source), source


def test_an_epoch_reads_each_part_for_one_stretch_of_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "WINDOW_BYTES", 2 * 250)
    texts: Texts = numbered({"de": [[10] * 10 for _ in range(20)]})
    corpus, source = counted(write_corpus(tmp_path, texts))
    language = LanguageStream(corpus, "de", 10, 3)
    rows_of(language, 10, 180)  # nine windows of two parts and 20 rows; the ninth ends in the tenth
    assert sorted(source.indexed) == [f"part-{number:05d}-000" for number in range(20)]
    order = source.opened
    spans = [len(order) - order[::-1].index(name) - order.index(name) for name in set(order)]
    assert max(spans) < 2 * 3 * 20
    windows = [now for now, _ in source.expected]  # each is said when it begins, and the one before it
    assert [len(now) for now in windows] == [2] * 9
    assert [soon for _, soon in source.expected][:-1] == windows[1:]
    assert [sorted(part) for part in language._epoch(0).parts] != [sorted(part) for part in language._epoch(1).parts]


def test_no_window_is_larger_than_its_bound_unless_a_part_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "WINDOW_BYTES", 2 * 30)
    monkeypatch.setattr(stream, "WINDOW_PARTS", 3)
    sizes = [[5], [40], [10, 10], [1], [1], [1], [1], [1], [25]]
    language = LanguageStream(write_corpus(tmp_path, numbered({"de": sizes})), "de", 4, 0)
    windows = language._epoch(0).parts
    assert sorted(int(number) for window in windows for number in window) == list(range(9))
    for window in windows:
        assert len(window) <= 3 and (len(window) == 1 or sum(sum(sizes[number]) for number in window) <= 30)


def test_only_the_chosen_documents_are_read(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path, numbered({"de": [[10, 10], [10, 10], [10]]}))
    chosen: dict[str, IntArray] = {
        "part-00000-000": np.array([1]),
        "part-00001-000": np.array([0]),
        "part-00002-000": np.zeros(0, np.int64),
    }
    some = Chosen(lambda _, part: chosen[part.name], lambda _: np.array([10, 10, 0]))
    language = LanguageStream(corpus, "de", 5, 0, some)
    assert language.tokens == 20
    assert {token for row in rows_of(language, 5, 40) for token in row} == set(range(11, 31))
