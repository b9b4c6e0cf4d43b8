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
