from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from app.artifacts.ensemble import read_ensemble
from app.artifacts.store import Store
from app.config.schema import Config
from app.core.errors import AllocationError, CorpusError
from app.pipelines import donors
from app.pipelines.donors import kept_rankings, made_rankings, sample_text
from benchmarks.donors import RESULTS, try_donors, verdict
from tests.app.pipelines.test_adapt import config_of

GROUPS = [("sv",)]


@pytest.mark.timeout(600)
def test_a_language_is_trained_from_the_donors_of_every_ranking_and_each_has_a_row(
    tiny_run: tuple[Config, Store], tmp_path: Path
) -> None:
    shutil.copytree(tiny_run[1].root, tmp_path / "root")
    store = Store(str(tmp_path / "root"))
    config = config_of(tmp_path / "root", "adaptation.budget_tokens=5120", "adaptation.lapt=false")
    rows = try_donors(config, store, ["sv"], nearest=1)
    assert rows == [json.loads(line) for line in (tmp_path / "root" / RESULTS).read_text().splitlines()]
    assert all(sorted(row["places"]) == ["perplexity", "representation", "typology"] for row in rows)
    found = {(name, place) for row in rows for name, place in row["places"].items()}
    assert {(name, place) for name in ("perplexity", "representation", "typology") for place in (1, 4)} <= found
    assert len({row["nats"] for row in rows}) == len(rows) and all(0 < row["nats"] < 7 for row in rows)
    assert set(verdict(rows)) == {"perplexity", "representation", "typology"}
    with pytest.raises(AllocationError, match="belongs to"):
        try_donors(config, store, ["de"])


def test_a_ranking_that_fails_is_named_with_why_unless_it_is_the_chosen_one(
    tiny_run: tuple[Config, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tiny_run[1]
    record = read_ensemble(store.run("tiny"), "")

    def fails(*_: object) -> None:
        raise CorpusError("no validation text in sv")

    for name in ("make_shards", "make_tokens"):
        monkeypatch.setattr(donors, name, lambda _text: None)
    monkeypatch.setattr(donors, "_by_surprise", fails)
    seedless = replace(record, models={})
    found = made_rankings(config_of(Path(store.root)), store, seedless, GROUPS)
    assert found.missing == {
        "perplexity": "no validation text in sv",
        "representation": "the ensemble names no seed",
    }
    assert list(found.table(GROUPS, ["de", "en"])) == ["typology"]
    with pytest.raises(CorpusError, match="no validation text"):
        made_rankings(config_of(Path(store.root), "adaptation.ranking=perplexity"), store, seedless, GROUPS)


def test_a_dry_run_says_why_it_does_not_know_a_ranking(tiny_run: tuple[Config, Store]) -> None:
    config, store = tiny_run
    record = read_ensemble(store.run("tiny"), "")

    def missing(*overrides: str) -> Sequence[str]:
        found = kept_rankings(config_of(Path(store.root), *overrides), store, record, GROUPS)
        assert list(found.by) == ["typology"]
        return list(found.missing.values())

    assert missing() == ["its sample has not been measured yet; jobs.adapt does so before it trains anything"] * 2
    assert missing("corpus.source=mc4") == ["a dry run leaves the Hub alone"] * 2
    found = kept_rankings(config, store, None, GROUPS)
    assert set(found.missing.values()) == {"run tiny has no experts yet"}


def test_a_sample_reads_one_file_and_no_more_of_it_than_it_needs(tiny_run: tuple[Config, Store]) -> None:
    store = tiny_run[1]
    record = read_ensemble(store.run("tiny"), "")
    options = ("adaptation.sample_documents=10", "corpus.validation_fraction=0.05")
    text = sample_text(config_of(Path(store.root), *options), store, record, GROUPS)
    assert text.config.evaluation.max_documents_per_language == 10
    assert (text.config.corpus.max_files_per_language, text.config.corpus.max_documents_per_file) == (1, 200)
    less = sample_text(config_of(Path(store.root), *options, "corpus.max_documents_per_file=50"), store, record, GROUPS)
    assert less.config.corpus.max_documents_per_file == 50 and text.config.corpus.languages == ("sv",)
