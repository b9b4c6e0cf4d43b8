from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.allocation.random_split import RandomAllocator
from app.allocation.storage import save_allocator
from app.artifacts.layout import ALLOCATOR, DATA_CARD, MANIFEST
from app.artifacts.store import Folder, StageFolder, Store
from app.config.load import load_config
from app.core.records import DocumentBatch
from app.corpora.base import is_drawn
from app.lineage.inputs import seed_location
from app.pipelines import assign, document_batches
from app.pipelines.data_card import DataCard
from app.pipelines.document_batches import DocumentSource, batch_file, draw_sample, joined, read_batch
from app.pipelines.part_tasks import Known, Task, bundle
from app.tokens.counts import counts_to_json
from app.tokens.packing import token_meta, write_meta, write_token_part
from app.tokens.tokenizer import load_tokenizer
from tests.support.token_store import numbered, write_corpus

CONFIG = load_config("demo")
TEXTS = {"de": [["Der Fluss", "war kalt"], ["und breit"]], "en": [[f"river {number}" for number in range(200)]]}


def doc_ids(lang: str, part: int, count: int) -> list[str]:
    """Sixteen hexadecimal digits for each of a part's documents."""
    return [f"{lang.encode().hex()}{part:04x}{row:08x}" for row in range(count)]


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> tuple[StageFolder, StageFolder]:
    """Shards and their tokens: two parts of German, one of English."""
    store = Store(str(tmp_path_factory.mktemp("store")))
    shards, tokens = store.stage("shards", "s"), store.stage("tokens", "t")
    tokenizer = load_tokenizer(seed_location("builtin:demo"))
    made = []
    for lang, parts in TEXTS.items():
        for number, texts in enumerate(parts):
            name = f"part-{number:05d}-000"
            ids = doc_ids(lang, number, len(texts))
            table = pa.table({"doc_id": ids, "lang": [lang] * len(ids), "text": texts, "bytes": [1] * len(ids)})
            sink = pa.BufferOutputStream()
            pq.write_table(table, sink)
            shards.write(f"{lang}/train/{name}.parquet", sink.getvalue().to_pybytes())
            made.append((lang, "train", write_token_part(table, tokenizer, tokens.child(f"{lang}/train"), name)))
    shards.write_json(DATA_CARD, asdict(DataCard({}, {"de/train": 30, "en/train": 2000}, {}, {}, {}, {})))
    write_meta(tokens, token_meta(tokenizer))
    tokens.write_json(MANIFEST, {"counts": counts_to_json(TEXTS, made)})
    return shards, tokens


def test_both_columns_of_a_part_belong_to_the_same_documents(stages: tuple[StageFolder, StageFolder]) -> None:
    shards, tokens = stages
    tokenizer = load_tokenizer(seed_location("builtin:demo"))
    by_text, by_tokens = DocumentSource(shards, "texts"), DocumentSource(tokens, "tokens")
    assert by_text.parts(["de", "en"], "train") == by_tokens.parts(["de", "en"], "train")
    for item in by_text.parts(["de", "en"], "train"):
        texts, ids = by_text.read(*item), by_tokens.read(*item)
        assert texts.doc_ids == ids.doc_ids and texts.langs == ids.langs == (item[0],) * len(ids)
        assert [tokenizer.decode(row.tolist()).strip() for row in ids.tokens] == list(texts.texts)


def test_tokens_come_without_start_and_end(stages: tuple[StageFolder, StageFolder]) -> None:
    tokenizer = load_tokenizer(seed_location("builtin:demo"))
    batch = DocumentSource(stages[1], "tokens").read("de", "train", "part-00001-000.parquet")
    assert batch.tokens[0].tolist() == tokenizer.encode_batch(["und breit"])[0].tolist()


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks run one after the other in this process."""

    def run_part_tasks(_what: str, _parts: str, task: Task, numbers: Sequence[int], *_: object, **__: object) -> None:
        for number in numbers:
            task(number)

    monkeypatch.setattr(document_batches, "run_part_tasks", run_part_tasks)
    monkeypatch.setattr(document_batches, "ray_session", lambda _cluster: contextlib.nullcontext())


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("column", ["texts", "tokens"])
def test_the_sample_is_drawn_by_the_hash_of_each_document(
    stages: tuple[StageFolder, StageFolder], tmp_path: Path, column: str
) -> None:
    source = DocumentSource(stages[0], "texts") if column == "texts" else DocumentSource(stages[1], "tokens")
    folder = Folder(str(tmp_path / "drawn"))
    sample = draw_sample(CONFIG, source, ["de", "en"], 203, 60, folder)
    assert_same(sample, by_reading_all(source, ["de", "en"], 60 / 203))
    assert 40 < len(sample) < 80
    assert len(sample.texts if column == "texts" else sample.tokens) == len(sample)
    everything = draw_sample(CONFIG, source, ["de", "en"], 203, 1000, Folder(str(tmp_path / "all")))
    assert list(everything.doc_ids) == doc_ids("de", 0, 2) + doc_ids("de", 1, 1) + doc_ids("en", 0, 200)


@pytest.mark.usefixtures("here")
def test_parts_that_were_drawn_before_are_not_read_again(
    stages: tuple[StageFolder, StageFolder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, folder = DocumentSource(stages[1], "tokens"), Folder(str(tmp_path))
    first = draw_sample(CONFIG, source, ["de", "en"], 203, 60, folder)
    monkeypatch.delattr(document_batches, "run_part_tasks")
    assert_same(draw_sample(CONFIG, source, ["de", "en"], 203, 60, folder), first)


def test_the_size_of_a_part_is_that_of_its_text(stages: tuple[StageFolder, StageFolder]) -> None:
    parts = DocumentSource(stages[0], "texts").parts(["de", "en"], "train")
    # Of shards the mean of its split.
    assert DocumentSource(stages[0], "texts").sizes(parts) == {0: 15.0, 1: 15.0, 2: 2000.0}
    assert DocumentSource(stages[1], "tokens").sizes(parts) == {0: 2.0, 1: 1.0, 2: 200.0}


def many_parts(stage: StageFolder, count: int) -> DocumentSource:
    """Shards with so many parts of one document each."""
    stage.write_json(DATA_CARD, asdict(DataCard({}, {"de/train": 9 * count}, {}, {}, {}, {})))
    for number in range(count):
        sink = pa.BufferOutputStream()
        columns = {"doc_id": doc_ids("de", number, 1), "lang": ["de"], "text": ["der Fluss"], "bytes": [9]}
        pq.write_table(pa.table(columns), sink)
        stage.write(f"de/train/part-{number:05d}-000.parquet", sink.getvalue().to_pybytes())
    return DocumentSource(stage, "texts")


def test_small_parts_share_tasks_and_none_is_looked_for_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    tasks: list[list[int]] = []
    exists = Folder.exists

    def counted(folder: Folder, name: str = "") -> bool:
        looked.append(name)
        return exists(folder, name)

    def run(_what: str, _parts: str, task: Task, numbers: Sequence[int], *shared: Any, known: Known) -> None:
        _, weights, most = shared
        tasks.extend(bundle({number: weights[number] for number in numbers}, most, 32))
        for number in numbers:
            done = task(number)
            # What another attempt at the task finds, whose machine was lost.
            after.append(known(number) == done)

    for module in (document_batches, assign):
        monkeypatch.setattr(module, "run_part_tasks", run)
        monkeypatch.setattr(module, "ray_session", lambda _cluster: contextlib.nullcontext())
    monkeypatch.setattr(Folder, "exists", counted)
    after: list[bool] = []
    times = []
    for count in (20, 200):
        store = Store(str(tmp_path / str(count)))
        source, stage = many_parts(store.stage("shards", "s"), count), store.stage("allocation", "a")
        save_allocator(RandomAllocator(("expert-00", "expert-01"), 0), stage.child(ALLOCATOR).write)
        corpus = write_corpus(tmp_path / f"tokens-{count}", numbered({"de": [[3]] * count}))
        monkeypatch.setattr(assign, "opened_corpus", lambda _stage, made=corpus: made)
        before, after[:] = len(looked), []
        assert len(draw_sample(CONFIG, source, ["de"], count, count, stage.child("sample"))) == count
        assign.assign_all(CONFIG, source, store.stage("tokens", "t"), ["de"], stage)
        assert sum(assign.sum_assignment(stage, ["de"])["documents_per_expert"]) == count
        times.append(len(looked) - before - len(after))  # each of these looks once
        assert after == [True] * 2 * count
    assert times[0] == times[1] and len(tasks) == 4


def test_a_batch_of_nothing_comes_back_as_nothing() -> None:
    assert read_batch(batch_file(DocumentBatch((), ()))) == DocumentBatch((), ())


def by_reading_all(source: DocumentSource, languages: Sequence[str], share: float) -> DocumentBatch:
    """The sample as one process draws it that reads every document."""
    rows = [source.read(*item).rows(row, row + 1) for item in source.parts(languages, "train") for row in range(200)]
    return joined([row for row in rows if row.doc_ids and is_drawn(row.doc_ids[0], b"sample", share)])


def assert_same(one: DocumentBatch, other: DocumentBatch) -> None:
    assert (one.doc_ids, one.langs, one.texts) == (other.doc_ids, other.langs, other.texts)
    assert [ids.tolist() for ids in one.tokens] == [ids.tolist() for ids in other.tokens]
    assert all(ids.dtype == np.int64 for ids in one.tokens)
