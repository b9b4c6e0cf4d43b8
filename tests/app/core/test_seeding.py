from __future__ import annotations

import hashlib

from app.core.seeding import derive_seed, generator


def test_seed_is_the_first_eight_bytes_of_the_digest_without_the_sign_bit() -> None:
    digest = hashlib.sha256(b"int:7\x1fstr:blocks\x1fint:2").digest()
    assert derive_seed(7, "blocks", 2) == int.from_bytes(digest[:8], "big") // 2


def test_each_part_of_the_purpose_and_its_type_matters() -> None:
    seeds = {derive_seed(0), derive_seed(1), derive_seed(0, "a"), derive_seed(0, "a", 1), derive_seed(0, "a", "1")}
    assert len(seeds) == 5


def test_same_purpose_gives_the_same_stream() -> None:
    assert generator(3, "x").integers(1 << 60, size=4).tolist() == generator(3, "x").integers(1 << 60, size=4).tolist()
