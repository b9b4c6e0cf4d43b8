from __future__ import annotations

import pickle

from app.corpora.base import CorpusSettings, SourceFile, document_id, first_files, split_of


def test_settings_need_only_a_source_and_travel_to_other_processes() -> None:
    settings = CorpusSettings(source="almanac")
    assert pickle.loads(pickle.dumps(settings)) == settings
    assert settings.column("text") == "text"
    assert CorpusSettings(source="files", columns={"text": "content"}).column("text") == "content"


def test_document_id_is_sixteen_hex_digits_of_language_and_text() -> None:
    same = document_id("de", "Haus")
    assert same == document_id("de", "Haus") and len(same) == 16 and int(same, 16) >= 0
    assert len({same, document_id("en", "Haus"), document_id("de", "Haus "), document_id("d", "eHaus")}) == 4


def test_split_by_hash_holds_out_the_fraction_and_a_larger_one_keeps_what_was_held_out() -> None:
    ids = [document_id("de", str(number)) for number in range(20_000)]
    held = {doc_id for doc_id in ids if split_of(doc_id, 0.05) == "validation"}
    assert abs(len(held) / len(ids) - 0.05) < 0.006  # four standard deviations
    assert held <= {doc_id for doc_id in ids if split_of(doc_id, 0.1) == "validation"}
    assert {split_of(doc_id, 0.0) for doc_id in ids} == {"train"}
    assert {split_of(doc_id, 1.0) for doc_id in ids} == {"validation"}


def test_first_files_counts_per_language_and_split_in_the_given_order() -> None:
    files = [SourceFile(f"{lang}{split}{n}", lang, split) for n in range(3) for lang in "ab" for split in ("t", "v")]
    assert first_files(files, 0) == files
    assert first_files(files, 1) == files[:4]
