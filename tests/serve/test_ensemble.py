from __future__ import annotations

from pathlib import Path

import pytest
import torch

from app.artifacts.store import Store
from app.core.errors import AllocationError, ConfigError, MissingArtifact, ServingError
from app.ensemble.sampling import Sampling
from serve.ensemble import load_ensemble
from serve.schema import XelmOptions
from tests.support.ensembles import demo_ensemble

GREEDY = Sampling(8, temperature=0.0)


def greedy(model: int | None, prompt: str) -> str:
    """What one expert alone (None: dense) writes, by its full logits."""
    ensemble = demo_ensemble()
    chosen = ensemble.others["dense"] if model is None else ensemble.experts[model]
    ids = [ensemble.tokenizer.start_id, *ensemble.tokenizer.encode_batch([prompt])[0].tolist()]
    made: list[int] = []
    with torch.no_grad():
        for _ in range(8):
            token = int(chosen.logits(torch.tensor([[*ids, *made]]))[0, -1].argmax())
            if token == ensemble.tokenizer.end_id:
                break
            made.append(token)
    return ensemble.tokenizer.decode(made)


def test_a_language_named_in_the_request_is_written_by_its_expert() -> None:
    for place, lang in enumerate(("de", "en")):
        found = demo_ensemble().complete("ensemble", "12 ", GREEDY, (), XelmOptions(language=lang))
        assert found.text == greedy(place, "12 ")
        assert list(found.weights.values()) == [float(place == 0), float(place == 1)]


def test_single_models_can_be_asked_for() -> None:
    for name, place in (("expert-00", 0), ("expert-01", 1), ("dense", None)):
        found = demo_ensemble().complete(name, "12 ", GREEDY, (), XelmOptions())
        assert found.text == greedy(place, "12 ") and found.weights == {name: 1.0}


def test_without_a_language_the_posterior_mixes_all_experts() -> None:
    found = demo_ensemble().complete("ensemble", "12 January", GREEDY, (), XelmOptions())
    assert sum(found.weights.values()) == pytest.approx(1.0) and min(found.weights.values()) > 0


def test_a_stop_string_ends_the_text_before_itself() -> None:
    whole = demo_ensemble().complete("dense", "12 ", GREEDY, (), XelmOptions())
    stop = whole.text[2:4]
    cut = demo_ensemble().complete("dense", "12 ", GREEDY, ("nowhere", stop), XelmOptions())
    assert cut.text == whole.text[: whole.text.index(stop)] and cut.finish_reason == "stop"
    assert cut.completion_tokens < whole.completion_tokens


def test_token_ids_are_taken_as_given() -> None:
    ensemble = demo_ensemble()
    ids = [ensemble.tokenizer.start_id, *ensemble.tokenizer.encode_batch(["12 "])[0].tolist()]
    by_ids = ensemble.complete("dense", ids, GREEDY, (), XelmOptions())
    assert by_ids == ensemble.complete("dense", "12 ", GREEDY, (), XelmOptions())


@pytest.mark.parametrize(
    ("prompt", "options", "error", "message"),
    [
        ([], {}, ServingError, "holds no token"),
        ([10**6], {}, ServingError, "token id 1000000; ids run from 0 to"),
        ("x", {"language": "fr"}, AllocationError, "nearest known: en, de"),
        ("x", {"weighting": "tfdif", "language": "de"}, ConfigError, "tfidf"),
        ("x", {"top_m": 3, "language": "de"}, ConfigError, "top_m is 3 but there are 2 experts"),
    ],
)
def test_what_cannot_be_met_is_refused_before_the_first_token(
    prompt: str | list[int], options: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        demo_ensemble().complete("ensemble", prompt, GREEDY, (), XelmOptions.model_validate(options))


def test_a_run_without_an_ensemble_names_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match="make demo"):
        load_ensemble(Store(str(tmp_path)), "demo")
