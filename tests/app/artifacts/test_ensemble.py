from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from app.artifacts.ensemble import (
    EnsembleRecord,
    ExpertRecord,
    ensemble_versions,
    names_given,
    next_version,
    read_ensemble,
    regrown,
    require_current,
    write_ensemble,
)
from app.artifacts.store import Folder, Store
from app.core.errors import CorruptArtifact, MissingArtifact, StaleArtifact

EXPERTS = (
    ExpertRecord("expert-00", "k0", "seed0", 0, ("de", "en"), "ab", 100),
    ExpertRecord("az", "k9", "k0", 1, ("az",), "cd"),
)
RECORD = EnsembleRecord("r", EXPERTS, "a0", "t0", {"seed": "seed0", "dense": "d0"}, {"name": "tfidf", "top_m": 2})


@pytest.fixture
def run(tmp_path: Path) -> Folder:
    return Store(str(tmp_path)).run("r")


def test_a_record_reads_back_equal_with_its_version(run: Folder) -> None:
    assert write_ensemble(run, RECORD) == read_ensemble(run, "") == replace(RECORD, version=1)


def test_an_equal_record_adds_no_version_and_another_one_leaves_the_old_file_as_it_was(run: Folder) -> None:
    write_ensemble(run, RECORD)
    before = run.read("ensembles/0001.json")
    write_ensemble(run, RECORD)
    assert ensemble_versions(run) == [1]
    smaller = replace(RECORD, experts=EXPERTS[:1])
    assert write_ensemble(run, smaller).version == 2
    assert read_ensemble(run, "").experts == EXPERTS[:1] and read_ensemble(run, "", 1).experts == EXPERTS
    assert run.read("ensembles/0001.json") == before
    assert write_ensemble(run, RECORD).version == 3


def test_what_was_grown_from_a_version_that_is_no_longer_current_is_refused(run: Folder) -> None:
    write_ensemble(run, RECORD)
    require_current(run, 1)
    write_ensemble(run, replace(RECORD, experts=EXPERTS[:1]))
    with pytest.raises(StaleArtifact, match=r"from version 1 to 2 meanwhile"):
        require_current(run, 1)
    with pytest.raises(StaleArtifact, match="run the same command again"):
        write_ensemble(run, RECORD, grown_from=1)
    assert ensemble_versions(run) == [1, 2]


def test_a_version_whose_writer_died_before_it_was_current_is_taken_up_by_the_same_record_alone(run: Folder) -> None:
    write_ensemble(run, RECORD)
    grown = replace(RECORD, experts=(*EXPERTS, ExpertRecord("he", "k8", "k0", 1, ("he",), "ef")))
    run.write_json("ensembles/0002.json", asdict(replace(grown, version=2)))
    other = replace(RECORD, models={"seed": "seed0"})
    assert next_version(run, other) == 3 and next_version(run, RECORD) == 1
    assert write_ensemble(run, grown, grown_from=1) == read_ensemble(run, "") == replace(grown, version=2)
    assert ensemble_versions(run) == [1, 2]


def test_a_name_is_given_for_ever_unless_its_version_never_became_current(run: Folder) -> None:
    write_ensemble(run, RECORD)
    write_ensemble(run, replace(RECORD, experts=EXPERTS[:1]))
    unborn = replace(RECORD, experts=(*EXPERTS, ExpertRecord("he", "k8", "k0", 1, ("he",), "ef")), version=3)
    run.write_json("ensembles/0003.json", asdict(unborn))
    assert names_given(run) == ["az", "expert-00"]


def test_a_record_made_anew_keeps_later_experts_and_added_models_unless_its_own_experts_are_others() -> None:
    first = replace(RECORD, experts=EXPERTS[:1])
    current = replace(RECORD, models={**RECORD.models, "merged": "m"}, version=3)
    anew = replace(first, mixing={"name": "uniform"}, models={"seed": "seed0", "dense": "d1"})
    grown = regrown(current, anew, {"de": (1.0, 0.0)})
    assert grown is not None and grown.experts == EXPERTS and grown.mixing == {"name": "uniform"}
    assert grown.models == {"seed": "seed0", "dense": "d1", "merged": "m"} and grown.shares == {"de": (1.0, 0.0)}
    equal = regrown(current, replace(anew, starts_equal=True), {"de": (1.0, 0.0)})
    assert equal is not None and equal.shares == grown.shares and equal.start == {} and grown.start == grown.shares
    other = replace(EXPERTS[0], model="k1")
    assert regrown(current, replace(first, experts=(other,)), {}) is None
    assert regrown(current, replace(first, tokenizer="t1"), {}) is None


def test_without_an_ensemble_the_cure_is_the_callers(run: Folder) -> None:
    with pytest.raises(MissingArtifact, match=r"holds no ensemble; run that"):
        read_ensemble(run, "run that")
    write_ensemble(run, RECORD)
    with pytest.raises(MissingArtifact, match=r"no version 7; there are 1"):
        read_ensemble(run, "", 7)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"format": 2}, StaleArtifact, r"0001.json has format 2, this program reads 1; use the newer program"),
        ({"format": 0}, StaleArtifact, "make the run's evaluation again"),
        ({"experts": [{"name": "e"}]}, CorruptArtifact, r"experts\[0\] lacks model"),
        ({"weighting": "tfidf"}, CorruptArtifact, "unknown field 'weighting'"),
    ],
)
def test_a_record_of_another_kind_is_refused(
    run: Folder, change: dict[str, object], error: type[Exception], message: str
) -> None:
    write_ensemble(run, RECORD)
    run.write_json("ensembles/0001.json", run.read_json("ensembles/0001.json") | change)  # type: ignore[operator]
    with pytest.raises(error, match=message):
        read_ensemble(run, "")
