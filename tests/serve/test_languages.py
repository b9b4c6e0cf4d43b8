"""Which language a text is in, and when the experts' weights look at it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from app.allocation.random_split import RandomAllocator
from app.core.errors import AllocationError, CorpusError
from app.corpora import identify
from app.ensemble.sampling import Sampling
from serve.languages import Languages
from serve.messages import Accepted, Job, Mixing, Piece, TextLanguage
from serve.replica import Replica
from tests.support.ensembles import demo_ensemble
from tests.support.serving import post, served

GERMAN, ENGLISH = "Der Hund läuft über die Straße", "The dog runs across the street"
KNOWN = replace(
    demo_ensemble(),
    languages={"expert-00": ("de",), "expert-01": ("en",)},
    shares={"de": (0.75, 0.25), "en": (0.0, 1.0)},
)


@pytest.fixture(scope="module")
def replica() -> Iterator[Replica]:
    made = Replica(KNOWN, slots=2)
    yield made
    made.close()


def asked(replica: Replica, prompts: tuple[str, ...], **mixing: object) -> tuple[list[TextLanguage], list[list[float]]]:
    """The language of each prompt, and the mean weights of its text."""
    job = Job("ensemble", prompts, Sampling(1, temperature=0.0), mixing=Mixing(**mixing))  # type: ignore[arg-type]

    async def events() -> list[object]:
        return [event async for batch in replica.answer(job) for event in batch.events]

    accepted, *pieces = asyncio.run(events())
    assert isinstance(accepted, Accepted)
    weights = {piece.choice: piece.effort.weights for piece in pieces if isinstance(piece, Piece) and piece.effort}
    return list(accepted.languages), [list(weights[place]) for place in sorted(weights)]


def test_what_is_given_is_taken_and_what_is_not_is_identified_with_its_confidence() -> None:
    languages = Languages({"de", "en"})
    assert languages.of(ENGLISH, "deu_Latn") == TextLanguage("de", "given")
    found = languages.of(GERMAN, None)
    assert (found.code, found.source) == ("de", "identified")
    assert found.confidence is not None and 0.9 < found.confidence <= 1
    assert languages.of("12 345", None) == TextLanguage()
    with pytest.raises(CorpusError, match="unknown language 'xx9'"):
        languages.of(GERMAN, "xx9")


def test_without_the_library_nothing_is_found_and_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lingua", None)
    identify.known_languages.cache_clear()
    try:
        languages = Languages({"de", "en"})
        languages.warm()
        assert languages.of(GERMAN, None) == TextLanguage()
    finally:
        identify.known_languages.cache_clear()


def test_a_rule_that_needs_a_language_takes_that_of_each_prompt(replica: Replica) -> None:
    found, weights = asked(replica, (GERMAN, ENGLISH), weighting="one_hot")
    assert [(one.code, one.source, one.weighs) for one in found] == [
        ("de", "identified", True),
        ("en", "identified", True),
    ]
    assert weights == [[1.0, 0.0], [0.0, 1.0]]
    _, weights = asked(replica, (GERMAN, ENGLISH), weighting="fixed")
    assert weights == [pytest.approx([0.75, 0.25]), [0.0, 1.0]]
    with pytest.raises(AllocationError, match="a request must name one of de, en"):
        asked(replica, ("12 345",), weighting="one_hot")


def test_a_language_that_was_only_identified_does_not_move_the_runs_own_rule(replica: Replica) -> None:
    """``auto`` follows the text by the running posterior, from equal weights, as it was evaluated."""
    (found,), (weights,) = asked(replica, (GERMAN,))
    plain = Replica(demo_ensemble(), slots=1)
    (unknown,), (same,) = asked(plain, (GERMAN,))
    plain.close()
    assert (found.code, found.weighs, unknown) == ("de", False, TextLanguage())
    assert weights == pytest.approx(same)
    (given,), (told,) = asked(replica, (GERMAN,), language="en")
    assert given == TextLanguage("en", "given", None, weighs=True) and told == [0.0, 1.0]
    (given,), _ = asked(replica, (GERMAN,), language="en", weighting="uniform")
    assert given == TextLanguage("en", "given")


def test_an_expert_that_was_added_to_a_cut_of_documents_is_found_by_any_spelling_of_its_language() -> None:
    grown = RandomAllocator(("expert-00",), 0).with_expert("expert-01", ["en"], "expert-00")
    made = Replica(replace(demo_ensemble(), allocator=grown), slots=1)
    try:
        for lang, code, expected in (
            ("eng_Latn", "en", [0.0, 1.0]),
            (" EN", "en", [0.0, 1.0]),
            ("deu", "de", [1.0, 0.0]),
            (None, None, [0.5, 0.5]),
        ):
            (found,), (weights,) = asked(made, ("12 ",), language=lang, weighting="tfidf")
            assert weights == expected and (found.code, found.weighs) == (code, lang is not None)
        (found,), _ = asked(made, ("12 ",), language="eng_Latn", weighting="posterior")
        assert found == TextLanguage("en", "given")  # the posterior looks at no distances
        (found,), _ = asked(made, ("12 ",), language="de", weighting="tfidf", experts=("expert-00",))
        assert not found.weighs
    finally:
        made.close()


def test_the_answer_says_which_language_was_taken_by_whom_and_how_surely() -> None:
    with served(KNOWN) as client:
        choices = post(client, prompt=[GERMAN, "12"], max_tokens=1, n=2).json()["choices"]
        alone = post(client, prompt=GERMAN, max_tokens=1, model="dense").json()["choices"][0]["xelm"]
    assert [choice["xelm"]["language"] for choice in choices] == ["de", "de", None, None]
    assert [choice["xelm"]["language_from"] for choice in choices] == ["identified", "identified", None, None]
    assert choices[1]["xelm"]["language_confidence"] > 0.9 and not choices[1]["xelm"]["language_weighs"]
    assert alone["language"] is None  # nothing is mixed, so nothing is looked at
