from __future__ import annotations

import pytest
from pydantic import BaseModel, ValidationError

from app.config.schema import Config


def _sections(model: type[BaseModel]) -> list[type[BaseModel]]:
    kinds = [field.annotation for field in model.model_fields.values()]
    below = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
    return [model] + [section for kind in below for section in _sections(kind)]


@pytest.mark.parametrize("section", _sections(Config), ids=lambda section: section.__name__)
def test_every_field_says_what_it_means_and_unknown_keys_are_refused(section: type[BaseModel]) -> None:
    assert section.model_config["extra"] == "forbid" and section.model_config["frozen"]
    assert [name for name, field in section.model_fields.items() if not field.description] == []


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Config().run.name = "other"  # type: ignore[misc]  # that it fails is the point


def test_width_must_divide_into_heads() -> None:
    with pytest.raises(ValidationError, match="width 65 is not a multiple of heads 2"):
        Config.model_validate({"seed": {"width": 65}})


@pytest.mark.parametrize(("given", "meant"), [(2, (2, 2)), ("1,4", (1, 4)), ([1, 4], (1, 4))])
def test_workers_are_a_number_or_a_range(given: object, meant: tuple[int, int]) -> None:
    assert Config.model_validate({"training": {"workers_per_expert": given}}).training.workers_per_expert == meant


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (0, "greater than 0"),
        ("4,2", "4,2: the least is above the most"),
        (33, "33 is more than the 32 rows of a step"),
        ("two", "at least 2 items|valid integer"),
    ],
)
def test_workers_that_cannot_be_meant_are_refused(given: object, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Config.model_validate({"training": {"workers_per_expert": given}})


@pytest.mark.parametrize(
    ("languages", "k"), [(1, 1), (2, 2), (3, 3), (4, 4), (5, 4), (8, 4), (10, 5), (16, 8), (100, 8)]
)
def test_k_follows_from_the_languages_where_nobody_sets_it(languages: int, k: int) -> None:
    names = [f"a{number}" for number in range(languages)]
    assert Config.model_validate({"corpus": {"languages": names}}).allocation.k == k
    assert Config.model_validate({"corpus": {"languages": names}, "allocation": {"k": 7}}).allocation.k == 7


def test_k_cannot_follow_from_languages_that_are_not_named() -> None:
    with pytest.raises(ValidationError, match=r"corpus\.languages, which is empty"):
        Config.model_validate({"corpus": {"languages": []}})


@pytest.mark.parametrize("name", [".", "..", ".hidden", "a/b"])
def test_a_run_is_not_named_like_a_place(name: str) -> None:
    with pytest.raises(ValidationError, match="pattern"):
        Config.model_validate({"run": {"name": name}})


def test_a_place_below_home_is_meant_as_a_shell_means_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/users/me")
    given = {"seed": {"model": "~/x"}, "corpus": {"path": "~/text"}, "artifacts": {"root": "~"}}
    config = Config.model_validate(given)
    assert (config.seed.model, config.corpus.path, config.artifacts.root) == (
        "/users/me/x",
        "/users/me/text",
        "/users/me",
    )
