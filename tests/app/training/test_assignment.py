from __future__ import annotations

from pathlib import Path

import pytest

from app.artifacts.store import StageFolder, Store
from app.core.errors import StaleArtifact
from app.tokens.dataset import TokenCorpus
from app.tokens.tokenizer import load_tokenizer, train_tokenizer
from app.training.assignment import held_by_experts, part_experts
from tests.support.tiny_training import write_assignment, write_tokens

TEXTS = {"de": [f"das ist Satz {i}" for i in range(9)], "en": [f"this is {i}" for i in range(9)]}
OWNERS = [0, 2, 2, 0, 2, 2, 0, 2, 2]


@pytest.fixture
def made(tmp_path: Path) -> tuple[StageFolder, TokenCorpus]:
    train_tokenizer([text for texts in TEXTS.values() for text in texts], 330, str(tmp_path / "tokenizer"))
    store = Store(str(tmp_path))
    corpus = TokenCorpus.open(write_tokens(store, "t", load_tokenizer(str(tmp_path / "tokenizer")), TEXTS))
    write_assignment(store, "de", 0, OWNERS)
    return store.stage("allocation", "a"), corpus


def test_each_parts_experts_are_read_alone(made: tuple[StageFolder, TokenCorpus]) -> None:
    allocation, corpus = made
    first, second = corpus.counts.parts("de", "train")
    assert part_experts(allocation, corpus, "de", first).tolist() == OWNERS[:5]
    assert part_experts(allocation, corpus, "de", second).tolist() == OWNERS[5:]


def test_what_experts_hold_is_counted_as_by_reading_every_document(made: tuple[StageFolder, TokenCorpus]) -> None:
    allocation, corpus = made
    held = held_by_experts(allocation, corpus, "de", 3)
    lengths = [len(document.ids) for document in corpus.documents("de", "train")]
    for number, found in enumerate(held):
        mine = [length for length, owner in zip(lengths, OWNERS, strict=True) if owner == number]
        assert (found.documents, found.tokens) == (len(mine), sum(mine))
    assert len({found.digest for found in held}) == 3


def test_the_digest_says_which_documents_and_not_whose_they_are(made: tuple[StageFolder, TokenCorpus]) -> None:
    allocation, corpus = made
    before = held_by_experts(allocation, corpus, "de", 3)
    write_assignment(Store(allocation.uri.split("/store/")[0]), "de", 0, [1 if owner == 0 else 0 for owner in OWNERS])
    after = held_by_experts(allocation, corpus, "de", 2)
    assert (after[0].digest, after[1].digest) == (before[2].digest, before[0].digest)
    write_assignment(Store(allocation.uri.split("/store/")[0]), "de", 0, [0] * 8 + [1])
    assert held_by_experts(allocation, corpus, "de", 2)[0].digest not in {found.digest for found in before}


@pytest.mark.parametrize("lang", [1, 2])
def test_an_assignment_of_other_documents_is_refused_with_the_cure(
    made: tuple[StageFolder, TokenCorpus], lang: int
) -> None:
    allocation, corpus = made
    store = Store(allocation.uri.split("/store/")[0])
    if lang == 1:
        write_assignment(store, "de", 1, OWNERS)  # as many documents with other ids
    else:
        write_assignment(store, "de", 0, OWNERS[:-1])
    with pytest.raises(StaleArtifact, match=r"documents/de/part.* does not list .* run python -m jobs\.allocate again"):
        held_by_experts(allocation, corpus, "de", 3)
    with pytest.raises(StaleArtifact, match="documents/en/part-00000-000"):  # never written
        held_by_experts(allocation, corpus, "en", 3)
