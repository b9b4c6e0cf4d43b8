from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
import pytest

from app.artifacts.ensemble import EnsembleRecord, ExpertRecord
from app.artifacts.store import Store
from app.evaluation.scores import scored_documents
from app.pipelines.forgetting import _own_lapt, _told, _untold, report_text, weights_are_as_recorded

RECORD = EnsembleRecord(
    "run",
    (
        ExpertRecord("expert-00", "k0", None, 0, ("de",), ""),
        ExpertRecord("expert-01", "k1", None, 1, ("pl",), ""),
        ExpertRecord("expert-02", "k2", None, 1, ("sv", "da"), ""),
    ),
    "a",
    "t",
    {},
)
DOCUMENTS = scored_documents(["a", "b", "c"], ["de", "pl", "da"], [2, 3, 2], [4, 6, 4])
RNG = np.random.default_rng(1)
TOKENS = {
    name: RNG.uniform(-3, -0.5, 7)
    for name in (
        "expert-00",
        "expert-01",
        "expert-02",
        "lapt_pl_new",
        "lapt_sv_da_new",
        "lapt_pl_total",
        "lapt_sv_da_total",
    )
}


def test_untold_a_document_has_the_mean_probability_of_all_experts() -> None:
    found = _untold(DOCUMENTS, TOKENS, RECORD)
    for part in (slice(0, 2), slice(2, 5), slice(5, 7)):
        whole = [math.exp(TOKENS[f"expert-0{e}"][part].sum()) for e in range(3)]
        assert found[part].sum() == pytest.approx(
            math.log(sum(whole) / 3), rel=1e-3
        )  # dropped experts weigh below 1e-4


def test_told_it_is_that_of_the_languages_own_expert() -> None:
    found = _told(DOCUMENTS, TOKENS, RECORD)
    assert found.tolist() == [*TOKENS["expert-00"][:2], *TOKENS["expert-01"][2:5], *TOKENS["expert-02"][5:]]


def test_each_new_language_is_read_by_its_own_lapt_model() -> None:
    lapt = sorted(name for name in TOKENS if name.startswith("lapt"))
    found = _own_lapt(DOCUMENTS, TOKENS, RECORD, lapt)
    assert list(found) == ["lapt_new", "lapt_total"]
    assert found["lapt_new"][2:].tolist() == [*TOKENS["lapt_pl_new"][2:5], *TOKENS["lapt_sv_da_new"][5:]]


def test_the_text_measures_the_told_ensemble_against_the_told_one_before() -> None:
    def figures(value: float, **against: float) -> dict[str, object]:
        means = ("mean_log_perplexity_ratio", "mean_log_perplexity_ratio_low", "mean_log_perplexity_ratio_high")
        rows = {base: dict.fromkeys(means, change) for base, change in against.items()}
        return {**dict.fromkeys(means, value), "against": rows}

    systems = {"after_told": figures(-0.1, before=-0.02, before_told=0.0)}
    text = report_text({"new": {"systems": {}}, "old": {"systems": systems}}, unchanged=True)  # type: ignore[dict-item]
    line = next(line for line in text.splitlines() if line.startswith("after_told"))
    assert "-9.5" in line and "+0.00%" in line and "untouched" in text


def test_experts_count_as_untouched_only_if_their_files_say_so(tmp_path: Path) -> None:
    model = Store(str(tmp_path)).stage("model", "k0")
    model.write("final/model.safetensors", b"trained")
    expert = ExpertRecord("expert-00", "k0", None, 0, ("de",), hashlib.sha256(b"trained").hexdigest())
    assert weights_are_as_recorded({"expert-00": model}, [expert])
    model.write("final/model.safetensors", b"trained on")
    assert not weights_are_as_recorded({"expert-00": model}, [expert])


def test_the_stores_own_files_are_looked_at_and_not_this_machines_copy(tmp_path: Path) -> None:
    model = Store(f"memory://{tmp_path.name}", str(tmp_path / "cache")).stage("model", "k0")
    model.write("final/model.safetensors", b"trained")
    model.local("final")
    expert = ExpertRecord("expert-00", "k0", None, 0, ("de",), hashlib.sha256(b"trained").hexdigest())
    model.write("final/model.safetensors", b"trained on")
    assert not weights_are_as_recorded({"expert-00": model}, [expert])
