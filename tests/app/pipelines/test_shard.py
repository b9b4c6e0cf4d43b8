from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from app.artifacts.store import Store
from app.config.load import load_config
from app.config.schema import Config
from app.core.errors import CorpusError
from app.core.records import Document
from app.corpora.almanac import AlmanacCorpus
from app.corpora.base import CorpusSettings
from app.corpora.hub import HubCorpus
from app.corpora.identify import confidence
from app.corpora.layouts import LAYOUTS
from app.corpora.shards import Sidecar, read_documents, shard_file
from app.lineage.lineage import Lineage
from app.lineage.settings import corpus_settings
from app.pipelines import shard
from app.pipelines.part_tasks import Known, Task
from app.pipelines.shard import make_shards
from tests.support.hub import FakeHub

pytestmark = pytest.mark.ray

SCREENS = ("corpus.near_duplicates=minhash", "corpus.language_identification=lingua")


def _pages(lang: str, number: int) -> list[str]:
    """Almanac pages that look like their language: they hold so many names that not every one does."""
    corpus = AlmanacCorpus(CorpusSettings("almanac", None, (lang,), documents_per_language=10 * number))
    rows = [row for file in corpus.files() if file.split == "train" for row in corpus.read(file)]
    texts = [row.text for row in rows if isinstance(row, Document)]
    return [text for text in texts if (confidence(lang, text) or (0.0, ""))[0] > 0.9][:number]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three files of German and one of Swahili; copies with a changed end, and German under the wrong name."""
    root = tmp_path_factory.mktemp("corpus")
    german, swahili = _pages("de", 36), _pages("sw", 12)
    files = {
        "de/a.jsonl": german[:12],
        "de/b.jsonl": [*(f"{text}." for text in german[:5]), *german[12:24]],
        "de/c.jsonl": [german[30], f"{german[12]}!", german[30], *german[24:30]],
        "sw/d.jsonl": [*swahili, german[31], german[32], german[0]],
    }
    for name, texts in files.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return root


def _config(root: Path, corpus: Path, *more: str) -> Config:
    where = (f"artifacts.root={root}", "corpus.source=files", f"corpus.path={corpus}", "corpus.languages=de,sw")
    more = ("corpus.validation_fraction=0.2", *more)
    return load_config("demo", overrides=[*where, *more])


def _digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "manifest.json"  # holds the seconds it took
    }


def test_what_is_dropped_is_counted_by_reason_and_kept(ray_running: None, corpus: Path, tmp_path: Path) -> None:
    assert ray_running is None
    stage = make_shards(Lineage(_config(tmp_path, corpus, *SCREENS), Store(str(tmp_path))))["shards"]
    card = stage.read_json("data_card.json")
    assert card["rejects"] == {"misidentified": 3, "near_duplicate": 7}
    assert card["rejects_by_language"] == {"de": {"near_duplicate": 7}, "sw": {"misidentified": 3}}
    assert card["duplicates"] == {"de": 0, "sw": 0} and card["languages_not_identified"] == []
    texts = {
        lang: [row["text"] for split in ("train", "validation") for row in read_documents(stage, lang, split)]
        for lang in ("de", "sw")
    }
    assert (len(texts["de"]), len(texts["sw"])) == (31, 12)
    kept = [json.loads(line) for name in stage.names("rejects") for line in stage.read(f"rejects/{name}").splitlines()]
    assert [(Path(row["file"]).name, row["line"]) for row in kept if row["reason"] == "near_duplicate"] == [
        *(("b.jsonl", line) for line in range(1, 6)),
        ("c.jsonl", 2),
        ("c.jsonl", 3),
    ]
    assert not stage.exists("signatures")


def test_killed_at_any_point_and_run_again_it_ends_with_the_same_files(
    ray_running: None, corpus: Path, tmp_path: Path
) -> None:
    assert ray_running is None
    config, store = _config(tmp_path, corpus, *SCREENS), Store(str(tmp_path))
    folder = Path(make_shards(Lineage(config, store))["shards"].local())
    expected = _digests(folder)
    for done in ("00000", "00001", "00003"):  # the one file that was sharded before the kill
        (folder / "DONE").unlink()
        for path in [*folder.glob("*/*/part-*"), *folder.glob("sidecars/*"), *folder.glob("rejects/*")]:
            if done not in path.name:
                path.unlink()
        make_shards(Lineage(config, store))
        assert _digests(folder) == expected


def test_a_corpus_without_the_steps_keeps_its_documents(ray_running: None, corpus: Path, tmp_path: Path) -> None:
    assert ray_running is None
    card = make_shards(Lineage(_config(tmp_path, corpus), Store(str(tmp_path))))["shards"].read_json("data_card.json")
    assert card["rejects"] == {} and card["languages_not_identified"] is None


def _write(folder: Path, name: str, *rows: dict[str, object]) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_held_out_text_that_is_trained_on_is_counted_and_said(
    ray_running: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert ray_running is None
    texts = [{"text": f"Satz {number}"} for number in range(30)]
    _write(tmp_path / "in", "de/train/a.jsonl", *texts, *texts[:2])
    _write(tmp_path / "in", "de/dev/b.jsonl", *texts[:3], {"text": "Satz 99"})
    _write(tmp_path / "in", "sw/train/c.jsonl", *texts)
    stage = make_shards(Lineage(_config(tmp_path, tmp_path / "in"), Store(str(tmp_path))))["shards"]
    card = stage.read_json("data_card.json")
    assert card["duplicates"] == {"de": 2, "sw": 0} and card["held_out_in_training"] == {"de": 3, "sw": 0}
    assert "held-out documents whose very text is trained on too: de 3 of 4;" in caplog.text
    assert isinstance(card["documents"], dict) and 0 < card["documents"]["sw/validation"] < 30  # by hash


def test_files_that_gave_nothing_are_named_on_the_terminal_and_in_the_card(
    ray_running: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert ray_running is None
    texts = [{"text": f"Satz {number}"} for number in range(60)]
    for lang in ("de", "sw"):
        _write(tmp_path / "in", f"{lang}/a.jsonl", *texts)
    _write(tmp_path / "in", "de/b.jsonl", {"body": "Satz"}, {"body": "Satz"})
    _write(tmp_path / "in", "notes.txt")
    stage = make_shards(Lineage(_config(tmp_path, tmp_path / "in"), Store(str(tmp_path))))["shards"]
    card = stage.read_json("data_card.json")
    (unread,), (poor,) = card["unread"], card["poor_files"]  # type: ignore[misc]
    assert unread["name"] == "notes.txt" and poor["file"].endswith("de/b.jsonl") and poor["documents"] == 0
    assert "not read: 1 file: no known kind of text file (notes.txt)" in caplog.text
    assert "de/b.jsonl: no document; missing_column 2 (row 1: no 'text' in body)" in caplog.text


def test_input_that_is_mostly_unreadable_stops_with_the_reason(ray_running: None, tmp_path: Path) -> None:
    assert ray_running is None
    _write(tmp_path / "in", "de/a.jsonl", *({"text": f"Satz {number}"} for number in range(30)))
    _write(tmp_path / "in", "sw/b.jsonl", *({"body": f"sentensi namba {number}"} for number in range(60)))
    with pytest.raises(CorpusError, match=r"could not be read: .*b\.jsonl: no document; missing_column 60.*columns"):
        make_shards(Lineage(_config(tmp_path, tmp_path / "in"), Store(str(tmp_path))))


@pytest.mark.parametrize("part", ["corpus.max_files_per_language=1", "corpus.enough_for_budget=true"])
def test_what_is_unread_beside_all_text_says_nothing_of_a_part_of_it(
    ray_running: None, tmp_path: Path, part: str
) -> None:
    assert ray_running is None
    for number in range(8):
        _write(tmp_path / "in", f"de/{number}.jsonl", *({"text": f"{number} {line:098d}"} for line in range(40)))
    (tmp_path / "in/paper.pdf").write_bytes(b"x" * 8000)  # more than a file, less than all of them
    config = _config(tmp_path, tmp_path / "in", part, "corpus.languages=de", "training.budget_tokens=64")
    shards = make_shards(Lineage(config, Store(str(tmp_path))))["shards"]
    assert shards.read_json("data_card.json")["documents"] and len(list(Path(shards.local()).glob("sidecars/*"))) == 1


def test_a_limit_that_leaves_no_file_out_lets_nothing_pass(ray_running: None, tmp_path: Path) -> None:
    assert ray_running is None
    _write(tmp_path / "in", "de/a.jsonl", *({"text": f"{line:098d}"} for line in range(40)))
    _write(tmp_path / "in", "de/b.jsonl", *({"body": f"{line:098d}"} for line in range(40)))
    (tmp_path / "in/paper.pdf").write_bytes(b"x" * 3000)  # less than the text; with the poor file more than half
    config = _config(tmp_path, tmp_path / "in", "corpus.max_files_per_language=5", "corpus.languages=de")
    with pytest.raises(CorpusError, match=r"could not be read: .*b\.jsonl: no document"):
        make_shards(Lineage(config, Store(str(tmp_path))))


def test_a_language_without_held_out_text_stops_before_training_and_again(ray_running: None, tmp_path: Path) -> None:
    assert ray_running is None
    for lang, number in (("de", 60), ("sw", 1)):
        _write(tmp_path / "in", f"{lang}/a.jsonl", *({"text": f"Satz {n}"} for n in range(number)))
    config = _config(tmp_path, tmp_path / "in")
    for _ in range(2):
        with pytest.raises(CorpusError, match=r"too little .* in sw \(0 documents of 1\).*corpus.languages to de,"):
            make_shards(Lineage(config, Store(str(tmp_path))))


def test_a_language_is_read_until_its_share_of_the_budget_is_there(ray_running: None, tmp_path: Path) -> None:
    assert ray_running is None
    for number in range(
        8
    ):  # 8192 tokens need 4608 bytes of each language, and the first file has less than half of them
        _write(tmp_path / "in", f"de/{number}.jsonl", *({"text": f"{number} {line:098d}"} for line in range(20)))
    _write(tmp_path / "in", "sw/0.jsonl", *({"text": f"sw{line:098d}"} for line in range(60)))
    enough = ("corpus.enough_for_budget=true", "training.budget_tokens=8192")
    config = _config(tmp_path, tmp_path / "in", *enough)
    folder = Path(make_shards(Lineage(config, Store(str(tmp_path))))["shards"].local())
    expected = _digests(folder / "de") | _digests(folder / "sidecars")
    sizes = json.loads((folder / "data_card.json").read_text())["bytes"]
    assert sizes["de/train"] == 7200 and len(list(folder.glob("sidecars/*"))) == 5 + 1
    (folder / "DONE").unlink()
    (folder / "sidecars/00001.json").unlink()
    make_shards(Lineage(config, Store(str(tmp_path))))
    assert _digests(folder / "de") | _digests(folder / "sidecars") == expected


def test_a_download_goes_once_its_shards_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"{LAYOUTS['mc4'].repository}@abc/multilingual/c4-de.tfrecord-00000-of-00001.json.gz"
    hub = FakeHub({uri: gzip.compress(b'{"text": "Der Fluss", "url": "u", "timestamp": "t"}')})
    overrides = (
        "corpus.source=mc4",
        "corpus.languages=[de]",
        "corpus.revision=abc",
        f"corpus.staging={tmp_path}/staging",
    )
    config, stage = load_config("demo", overrides=overrides), Store(str(tmp_path)).stage("shards", "s")
    corpus = HubCorpus(corpus_settings(config), lambda: hub)
    staged: list[list[str]] = []

    def run(_what: str, _parts: str, task: Task, numbers: Sequence[int], *_: object, known: Known) -> None:
        for number in numbers:
            assert known(number) is None
            assert task(number) == known(number), "what another attempt finds, whose machine was lost"

    def write(*args: Any) -> Sidecar:
        made = shard_file(*args)
        staged.append([path.name for path in (tmp_path / "staging/abc").iterdir()])
        return made

    monkeypatch.setattr(shard, "run_part_tasks", run)
    monkeypatch.setattr(shard, "open_corpus", lambda _settings: corpus)
    monkeypatch.setattr(shard, "shard_file", write)
    shard._shard_files(config, corpus.files(), [0], stage)
    assert [row["text"] for split in ("train", "validation") for row in read_documents(stage, "de", split)] == [
        "Der Fluss"
    ]
    assert staged == [[Path(uri).name]] and list((tmp_path / "staging/abc").iterdir()) == []
