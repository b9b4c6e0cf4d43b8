from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.core.errors import CorpusError, CorruptArtifact, MissingArtifact
from app.core.records import IntArray
from app.core.seeding import generator
from app.tokens.dataset import BlockDataset, TokenCorpus

Texts = dict[str, list[list[list[int]]]]  # language -> parts -> documents -> tokens


def write_corpus(folder: Path, texts: Texts, dtype: str = "uint16") -> TokenCorpus:
    for lang, parts in texts.items():
        place = folder / lang / "train"
        place.mkdir(parents=True)
        for number, documents in enumerate(parts):
            lengths = [len(document) for document in documents]
            offsets = [0, *itertools.accumulate(lengths)][: len(lengths)]
            columns = {
                "doc_id": pa.array([f"{lang}-{number}-{i}" for i in range(len(documents))], pa.string()),
                "offset": pa.array(offsets, pa.int64()),
                "length": pa.array(lengths, pa.int64()),
                "lang": pa.array([lang] * len(documents), pa.string()),
                "bytes": pa.array([3 * length for length in lengths], pa.int64()),
            }
            pq.write_table(pa.table(columns), place / f"part-{number:05d}.parquet")
            np.asarray(list(itertools.chain(*documents)), dtype=dtype).tofile(place / f"part-{number:05d}.bin")
    ids = {"start_id": 0, "end_id": 0, "pad_id": 1}
    (folder / "meta.json").write_text(json.dumps({"dtype": dtype, "vocab_size": 60_000, **ids}))
    return TokenCorpus.open(str(folder))


def numbered(lengths_by_lang: dict[str, list[list[int]]]) -> Texts:
    """Documents of the given lengths, every token of the corpus another number."""
    count = itertools.count(1)
    return {
        lang: [[[next(count) for _ in range(length)] for length in part] for part in parts]
        for lang, parts in lengths_by_lang.items()
    }


def brute_force(texts: Texts, lang: str, rows: IntArray, length: int, blocks: int, seed: int) -> list[list[int]]:
    """Materialise the concatenation of each epoch and cut it."""
    documents = [document for part in texts[lang] for document in part]
    out: list[list[int]] = []
    for epoch in itertools.count():
        if len(out) >= blocks:
            return out[:blocks]
        order = rows.copy()
        generator(seed, "documents", lang, epoch).shuffle(order)
        stream = list(itertools.chain(*(documents[row] for row in order)))
        cut = [stream[start : start + length] for start in range(0, len(stream) - length + 1, length)]
        out += [cut[i] for i in generator(seed, "rows", lang, epoch).permutation(len(cut))]
    raise AssertionError


lengths = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=6), min_size=1, max_size=3)


@given(
    st.fixed_dictionaries({"de": lengths, "hi": lengths}),
    st.integers(1, 5),
    st.integers(1, 25),
    st.integers(0, 3),
    st.floats(0, 1),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_are_those_of_the_materialised_concatenation(
    tmp_path_factory: pytest.TempPathFactory,
    by_lang: dict[str, list[list[int]]],
    length: int,
    num_blocks: int,
    seed: int,
    share: float,
) -> None:
    texts = numbered(by_lang)
    corpus = write_corpus(tmp_path_factory.mktemp("tokens"), texts)
    documents = {lang: np.arange(0, len(corpus.documents(lang, "train")), dtype=np.int64) for lang in texts}
    weights = {"de": share, "hi": 1 - share}
    if any(weights[lang] > 0 and sum(map(sum, by_lang[lang])) < length for lang in texts):
        with pytest.raises(CorpusError, match=f"less than one row of {length}"):
            BlockDataset(corpus, documents, weights, length, num_blocks, seed)
        return
    blocks = BlockDataset(corpus, documents, weights, length, num_blocks, seed)
    rows, langs = blocks.rows(0, num_blocks), blocks.languages(0, num_blocks)
    assert len(blocks) == num_blocks == len(rows)
    for lang in texts:
        mine = [row.tolist() for row, row_lang in zip(rows, langs, strict=True) if row_lang == lang]
        assert mine == brute_force(texts, lang, documents[lang], length, len(mine), seed)
        assert abs(len(mine) - weights[lang] * num_blocks) < 1
        assert blocks.exposure().get(lang, 0) == len(mine) * length


def corpus_of(folder: Path, lengths_by_lang: dict[str, list[list[int]]]) -> TokenCorpus:
    return write_corpus(folder, numbered(lengths_by_lang))


def all_rows(corpus: TokenCorpus) -> dict[str, IntArray]:
    return {lang: np.arange(len(corpus.documents(lang, "train")), dtype=np.int64) for lang in corpus.languages()}


def test_a_row_depends_on_seed_and_number_alone(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, {"de": [[9, 7], [30]], "sw": [[40]]})
    arguments = (all_rows(corpus), {"de": 0.5, "sw": 0.5}, 4, 50)
    whole = BlockDataset(corpus, *arguments, seed=1).rows(0, 50)
    again = BlockDataset(TokenCorpus.open(str(tmp_path)), *arguments, seed=1)
    for i in (49, 0, 17, 33, 17):
        assert again.rows(i, i + 1).tolist() == whole[i : i + 1].tolist()
    assert again.rows(7, 7).shape == (0, 4)
    assert BlockDataset(corpus, *arguments, seed=2).rows(0, 50).tolist() != whole.tolist()


def test_an_epoch_shows_every_row_once_and_the_next_another_order(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, {"de": [[8, 4, 12, 8, 8]]})
    rows = BlockDataset(corpus, all_rows(corpus), {"de": 1.0}, 4, 20, seed=0).rows(0, 20)
    first, second = rows[:10], rows[10:]
    assert sorted(first.ravel().tolist()) == sorted(second.ravel().tolist()) == list(range(1, 41))
    assert first.tolist() != second.tolist()


def test_only_the_given_documents_are_read(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, {"de": [[10, 10], [10, 10]]})
    rows = BlockDataset(corpus, {"de": np.array([1, 2])}, {"de": 1.0}, 5, 40, seed=0).rows(0, 40)
    assert set(rows.ravel().tolist()) == set(range(11, 31))


def test_exposure_is_exact_for_many_languages(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, {f"l{i}": [[20]] for i in range(7)})
    weights = {f"l{i}": 1 / 7 for i in range(7)}
    blocks = BlockDataset(corpus, all_rows(corpus), weights, 4, 100, seed=3)
    exposure = blocks.exposure()
    assert sum(exposure.values()) == 400 and set(exposure.values()) == {56, 60}
    langs = blocks.languages(0, 100)
    assert {lang: 4 * langs.count(lang) for lang in exposure} == exposure


def test_a_language_with_less_than_one_row_is_refused_by_name(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, {"de": [[20]], "sw": [[3]]})
    with pytest.raises(CorpusError, match="sw has 3 training tokens, less than one row of 4"):
        BlockDataset(corpus, all_rows(corpus), {"de": 0.9, "sw": 0.1}, 4, 10, seed=0)
    assert set(BlockDataset(corpus, all_rows(corpus), {"de": 1.0, "sw": 0.0}, 4, 10, seed=0).languages(0, 10)) == {"de"}


def test_documents_are_found_across_parts(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path, {"de": [[[5, 6], [7]], [[70_000, 8]]]}, "uint32")
    assert corpus.languages() == ("de",)
    table = corpus.documents("de", "train")
    assert (len(table), table.length.tolist(), table.bytes.tolist()) == (3, [2, 1, 2], [6, 3, 6])
    assert [corpus.tokens_of("de", "train", row).tolist() for row in range(3)] == [[5, 6], [7], [70_000, 8]]
    assert len(corpus.documents("de", "validation")) == 0


def test_a_folder_without_tokens_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match=r"jobs\.tokenize"):
        TokenCorpus.open(str(tmp_path))


def test_a_torn_part_is_refused(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, {"de": [[20]]})
    path = tmp_path / "de/train/part-00000.bin"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(CorruptArtifact, match="has 38 bytes, its index says 20 tokens of 2 bytes"):
        corpus.tokens_of("de", "train", 0)
