from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.artifacts.store import StageFolder, Store
from app.core.errors import StaleArtifact
from app.tokens.dataset import TokenCorpus
from app.tokens.tokenizer import load_tokenizer, train_tokenizer
from app.training.assignment import part_experts, part_tokens
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


def test_an_experts_tokens_are_those_of_reading_every_document(made: tuple[StageFolder, TokenCorpus]) -> None:
    allocation, corpus = made
    lengths = [len(document.ids) for document in corpus.documents("de", "train")]
    for expert in range(3):
        mine = [length * (owner == expert) for length, owner in zip(lengths, OWNERS, strict=True)]
        assert part_tokens(allocation, corpus, "de", expert).tolist() == [sum(mine[:5]), sum(mine[5:])]


def test_tokens_of_other_parts_are_refused_with_the_cure(made: tuple[StageFolder, TokenCorpus]) -> None:
    allocation, corpus = made
    np.save(allocation.local("part_tokens/de.npy"), np.zeros((3, 4), np.int64))
    with pytest.raises(StaleArtifact, match=r"part_tokens/de.npy does not .* run python -m jobs\.allocate again"):
        part_tokens(allocation, corpus, "de", 0)
    with pytest.raises(StaleArtifact, match=r"part_tokens/en.npy does not"):  # never written
        part_tokens(allocation, corpus, "en", 0)


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
        [part_experts(allocation, corpus, "de", part) for part in corpus.counts.parts("de", "train")]
    with pytest.raises(StaleArtifact, match="documents/en/part-00000-000"):  # never written
        part_experts(allocation, corpus, "en", corpus.counts.parts("en", "train")[0])
