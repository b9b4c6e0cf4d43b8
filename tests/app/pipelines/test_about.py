from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from app.config.load import load_config
from app.pipelines import about
from app.pipelines.about import about_run, code_version, corpus_text


def test_the_almanac_is_said_to_be_generated_lists() -> None:
    text = corpus_text(load_config("demo"))
    assert "generated lists" in text and "no prose" in text


def test_another_corpus_is_named_with_its_place() -> None:
    config = load_config("experiment", overrides=["corpus.source=mc4", "corpus.path=data/mine"])
    assert corpus_text(config) == "mc4 at data/mine"


def test_the_head_counts_documents_and_names_the_training_seed() -> None:
    found = about_run(load_config("demo", overrides=["run.seed=7"]), {"documents": 6400, "languages": ["de", "en"]})
    assert "6.4k documents in 2 languages" in found["corpus"]
    assert found["training seeds"].startswith("1 (run.seed = 7)")
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC by ", found["page made"])


def test_a_checkout_is_known_by_its_commit_and_by_local_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*arguments: str) -> str:
        who = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
        return subprocess.run(
            ["git", *who, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout

    git("init", "-q")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-qm", "first")
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.setattr(about, "__file__", str(tmp_path / "a" / "b" / "about.py"))
    commit = git("rev-parse", "HEAD").strip()
    assert code_version() == f"commit {commit[:12]}"
    (tmp_path / "file").write_text("two")
    assert code_version() == f"commit {commit[:12]} with local changes"


def test_without_a_checkout_the_package_names_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(about, "__file__", str(tmp_path / "a" / "b" / "about.py"))
    assert re.fullmatch(r"version [0-9.]+|code that names no version", code_version())
