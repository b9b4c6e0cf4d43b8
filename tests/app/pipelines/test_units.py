from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.artifacts.store import Store
from app.config.load import load_config
from app.corpora.base import SourceFile
from app.lineage.lineage import Lineage
from app.pipelines import shard
from app.pipelines.shard import make_shards
from app.pipelines.units import Unit, unit_bytes

MANY_TASKS = 4_000


def _line(number: int) -> bytes:
    words = " ".join(f"wort{(number * 7919 + place) % 5000}" for place in range(40))
    lang = ("de", "sw", "fr")[number % 3]
    return json.dumps({"text": words, "lang": lang, "url": f"https://{number}"}).encode() + b"\n"


def _frames(text: bytes, size: int) -> list[bytes]:
    return [bytes(pa.compress(text[at : at + size], codec="zstd", asbytes=True)) for at in range(0, len(text), size)]


def _write_corpus(root: Path) -> None:
    """Near-copies over the borders of files and ranges, bad rows, a torn file and twelve tiny ones."""
    (root / "small").mkdir(parents=True)
    lines = [_line(number) for number in range(240)]
    lines[50:50] = [b"\n", b"no json\r\n", lines[3], b'{"text": 5}\n']
    (root / "a.jsonl").write_bytes(b"".join(lines[:120])[:-1])
    (root / "b.jsonl.zst").write_bytes(b"".join(_frames(b"".join(lines[90:160]), 3001)))
    rows = [json.loads(line) for line in lines[160:]]
    pq.write_table(pa.Table.from_pylist(rows), root / "c.parquet", row_group_size=17)
    frames = _frames(b"".join(lines[:60]), 3001)
    frames[-3] = frames[-3][:40] + bytes(20) + frames[-3][60:]
    (root / "d.jsonl.zst").write_bytes(b"".join(frames))
    for number in range(12):
        (root / f"small/{number:02d}.jsonl").write_bytes(b"".join(lines[number * 5 : number * 5 + 6]))


def _digests(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "manifest.json"]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _die(*_: object) -> None:
    raise InterruptedError


@pytest.mark.ray
def test_the_shards_are_the_same_bytes_whatever_a_task_reads_and_wherever_it_is_killed(
    ray_running: None, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ray_running is None
    caplog.set_level(logging.INFO)
    _write_corpus(tmp_path / "in")
    made = []
    for name, more in {"whole": (), "cut": (f"corpus.task_bytes={MANY_TASKS}",)}.items():
        where = [f"artifacts.root={tmp_path / name}", "corpus.source=files", f"corpus.path={tmp_path / 'in'}"]
        where += ["corpus.languages=de,sw,fr", "corpus.validation_fraction=0.2", "corpus.near_duplicates=minhash"]
        config, store = load_config("demo", overrides=[*where, *more]), Store(str(tmp_path / name))
        if more:
            with monkeypatch.context() as killed, pytest.raises(InterruptedError):
                killed.setattr(shard, "join_pieces", _die)
                make_shards(Lineage(config, store))
        stage = make_shards(Lineage(config, store))["shards"]
        made.append(_digests(stage.local()))
        assert not stage.exists("pieces") and not stage.exists("signatures")
    assert made[0] == made[1]
    assert "in/d.jsonl.zst: it is torn, and" in caplog.text
    assert "cut: 4/4 large files" in caplog.text and " parts of large files" in caplog.text


def test_a_tiny_file_costs_its_opening_and_a_span_its_share() -> None:  # and what is generated is slow
    large = SourceFile("a", size_bytes=1 << 20)
    units = [Unit(0, large, 0), Unit(0, large, 1), Unit(1, SourceFile("b", size_bytes=10)), Unit(2, SourceFile("c"))]
    assert unit_bytes(units) == {0: 1 << 19, 1: 1 << 19, 2: 1 << 16, 3: 1 << 20}
