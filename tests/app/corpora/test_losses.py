from __future__ import annotations

import pytest

from app.core.errors import CorpusError
from app.corpora.base import SourceFile, Unread
from app.corpora.losses import find_poor_files, refuse_most_lost, tell_poor_files
from app.corpora.shards import Sidecar


def _sidecar(documents: int, **rejects: int) -> Sidecar:
    first = {reason: f"row 1: {reason}" for reason in rejects}
    return Sidecar("a", {"de/train": documents} if documents else {}, {}, rejects, first, 0)


@pytest.mark.parametrize(
    ("sidecar", "share"),
    [
        (_sidecar(0), 1.0),
        (_sidecar(0, bad_json=3), 1.0),
        (_sidecar(0, other_language=3), 0.0),
        (_sidecar(1, bad_json=3), 0.75),
        (_sidecar(5, corrupt_stream=1), 1 / 6),
    ],
)
def test_a_poor_file_gave_nothing_or_less_than_it_lost_or_is_torn(sidecar: Sidecar, share: float) -> None:
    (poor,) = find_poor_files([SourceFile("a", size_bytes=9)], [sidecar])
    assert poor.share == pytest.approx(share) and poor.size_bytes == 9


@pytest.mark.parametrize("sidecar", [_sidecar(3, bad_json=3), _sidecar(1, other_language=9, empty_text=9)])
def test_a_file_that_gave_what_it_had_is_not_poor(sidecar: Sidecar) -> None:
    assert find_poor_files([SourceFile("a")], [sidecar]) == []


def test_a_line_says_what_was_lost_with_a_sample_and_the_last_line_how_many_more() -> None:
    poor = find_poor_files([SourceFile(f"{n}") for n in range(25)], [_sidecar(0, bad_json=3, not_text=1)] * 25)
    told = tell_poor_files(poor, 25)
    assert told[0] == "0: no document; bad_json 3, not_text 1 (row 1: bad_json)"
    assert len(told) == 21 and told[-1] == "and 5 more files, all named in the data card"
    assert tell_poor_files(poor, 22)[-1] == "and 5 more files, the data card names the first 22 of all"
    assert len(tell_poor_files(poor[:20], 3)) == 20


def test_more_than_half_lost_by_bytes_is_refused_and_half_is_not() -> None:
    files = [SourceFile("a", size_bytes=100), SourceFile("b", size_bytes=60)]
    poor = find_poor_files(files, [_sidecar(9), _sidecar(0, bad_json=1)])
    unread = [Unread("c", "no known kind", 40, is_loss=True), Unread("d", "test split", 4000)]
    refuse_most_lost("place", files, unread, poor)
    unread[0] = Unread("c", "no known kind", 41, is_loss=True)
    with pytest.raises(CorpusError, match=r"place: about 101 B of 201 B .*b: no document; bad_json 1.*\(c\)"):
        refuse_most_lost("place", files, unread, poor)


def test_nothing_is_lost_of_generated_text_that_has_no_size() -> None:
    refuse_most_lost("place", [SourceFile("a")], [], find_poor_files([SourceFile("a")], [_sidecar(0)]))
