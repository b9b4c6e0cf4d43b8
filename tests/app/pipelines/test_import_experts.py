from __future__ import annotations

from pathlib import Path

import pytest
import torch

from app.artifacts.ensemble import read_ensemble
from app.artifacts.store import Store
from app.config.load import load_config
from app.core.errors import ConfigError, CorpusError
from app.lineage.inputs import seed_location
from app.lineage.lineage import Lineage
from app.models.load import load_model, save_model
from app.pipelines.import_experts import Source, check_languages, import_experts, parse_source, require_places
from app.tokens.tokenizer import load_tokenizer, train_tokenizer
from serve.loading import LoadedEnsemble, load_ensemble
from tests.support.serving import post, served

SEED = seed_location("builtin:demo")


def folder(tmp_path: Path, number: int, tokenizer: bool = True) -> str:
    """A Hugging Face folder: the demo's seed, moved a little."""
    model = load_model(SEED)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.01 * number
    place = tmp_path / f"model-{number}"
    save_model(model, place, "# card")
    if tokenizer:
        load_tokenizer(SEED).save(str(place))
    return str(place)


def imported(tmp_path: Path, experts: list[str], *more: str) -> Store:
    given = [f"artifacts.root={tmp_path / 'root'}", "run.name=imported", f"imported.experts={','.join(experts)}", *more]
    store = Store(str(tmp_path / "root"))
    import_experts(Lineage(load_config("demo", overrides=given), store))
    return store


def weights_of(ensemble: LoadedEnsemble, **xelm: str) -> dict[str, float]:
    """What the experts weigh in an answer of the ensemble."""
    with served(ensemble) as client:
        answer = post(client, prompt="12 January", max_tokens=2, temperature=0, xelm=xelm)
    weights: dict[str, float] = answer.json()["choices"][0]["xelm"]["weights"]
    return weights


def test_experts_with_languages_become_an_ensemble_that_routes_by_them(tmp_path: Path) -> None:
    places = [folder(tmp_path, 1), folder(tmp_path, 2)]
    store = imported(tmp_path, [f"de+fr={places[0]}", f"en={places[1]}"])
    ensemble = load_ensemble(store, "imported")
    assert weights_of(ensemble, language="fr") == {"expert-00": 1.0, "expert-01": 0.0}
    for place, expert in zip(places, ensemble.models.values(), strict=False):
        weights = expert.state_dict()
        assert all(torch.equal(weights[name], weight) for name, weight in load_model(place).state_dict().items())
    assert [expert.parent for expert in read_ensemble(store.run("imported"), "").experts] == [None, None]


def test_experts_without_languages_are_weighed_by_the_posterior(tmp_path: Path) -> None:
    store = imported(tmp_path, [folder(tmp_path, 1), folder(tmp_path, 2)])
    found = weights_of(load_ensemble(store, "imported"))
    assert sum(found.values()) == pytest.approx(1.0) and min(found.values()) > 0


def test_the_same_model_is_imported_once(tmp_path: Path) -> None:
    place = folder(tmp_path, 1)
    store = imported(tmp_path, [place, place])
    assert len({expert.model for expert in read_ensemble(store.run("imported"), "").experts}) == 1


def test_a_folder_without_a_tokenizer_needs_one_named(tmp_path: Path) -> None:
    place = folder(tmp_path, 1, tokenizer=False)
    with pytest.raises(ConfigError, match="cannot load a tokenizer"):
        imported(tmp_path, [place])


def test_another_tokenizer_is_refused_with_both_digests(tmp_path: Path) -> None:
    places = [folder(tmp_path, 1), folder(tmp_path, 2)]
    train_tokenizer(["some other words"] * 50, 400, places[1])
    with pytest.raises(ConfigError, match=r"model-2 has another tokenizer \(.*than .*model-1"):
        imported(tmp_path, places)


def test_a_checkpoint_file_alone_asks_for_the_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"set imported\.tokenizer"):
        imported(tmp_path, [str(tmp_path / "checkpoint.pt")])


def test_languages_stand_before_the_place() -> None:
    assert parse_source("iw+en-multi=/models/a") == Source("/models/a", ("he", "en"))
    assert parse_source("facebook/xglm-564M") == Source("facebook/xglm-564M", ())
    with pytest.raises(CorpusError, match="unknown language"):
        parse_source("xx+de=/models/a")


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ([], "imported.experts is empty"),
        ([Source("a", ("de",)), Source("b", ())], r"not for b; write de\+fr=b"),
        ([Source("a", ("de",)), Source("b", ("en", "de"))], "gives de to two experts"),
    ],
)
def test_languages_that_do_not_make_a_cut_are_refused(sources: list[Source], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_languages(sources)


def test_all_wrong_places_are_named_at_once_and_the_hub_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.pipelines.import_experts.load_tokenizer", lambda place: pytest.fail(f"opened {place}"))
    (tmp_path / "empty").mkdir()
    wrong = [f"{tmp_path}/empty", f"{tmp_path}/no/such", "./models/de", str(tmp_path / "gone.pt")]
    with pytest.raises(ConfigError) as raised:
        imported(tmp_path, wrong)
    assert all(place in str(raised.value) for place in wrong) and "holds neither config.json" in str(raised.value)


def test_ids_of_the_hub_and_folders_of_models_are_let_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    require_places(["gpt2", "facebook/xglm-564M", SEED])
    (tmp_path / "models").mkdir()
    with pytest.raises(ConfigError, match="models/de is not there"):
        require_places(["models/de"])


def test_a_place_below_home_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/users/me")
    assert parse_source("de=~/x") == Source("/users/me/x", ("de",)) and parse_source("~/y").place == "/users/me/y"
