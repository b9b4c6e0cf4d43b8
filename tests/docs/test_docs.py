"""The documentation says what the code does."""

from __future__ import annotations

import re

import pytest

from app.artifacts import layout
from app.config.load import preset_names
from app.config.reference import render_reference
from tests.support.source import ROOT


def _read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_configuration_page_is_what_the_tree_says() -> None:
    assert _read("docs/configuration.md") == render_reference()


def test_the_artifacts_page_shows_every_stage_and_every_name_of_the_layout() -> None:
    page = _read("docs/artifacts.md")
    names = [value for name, value in vars(layout).items() if name.isupper() and isinstance(value, str)]
    missing = [value for value in [*names, *layout.STAGES] if value.rpartition("/")[2] not in page]
    assert missing == []


def test_every_dependency_has_its_reason() -> None:
    page = _read("docs/dependencies.md").lower()
    block = re.search(r"dependencies = \[(.*?)\n\]", _read("pyproject.toml"), re.S)
    dev = re.search(r"^dev = \[(.*?)^\]", _read("pyproject.toml"), re.M | re.S)
    assert block and dev
    named = re.findall(r'"([A-Za-z_-]+)', block.group(1) + dev.group(1))
    assert named and [name for name in named if name.lower() not in page] == []


def test_the_readme_names_every_preset_and_only_make_targets_that_exist() -> None:
    readme, makefile = _read("README.md"), _read("Makefile")
    assert [name for name in preset_names() if f"`{name}`" not in readme] == []
    targets = set(re.findall(r"\bmake ([a-z-]+)", "\n".join(re.findall(r"`[^`]*`|```.*?```", readme, re.S))))
    assert targets and [name for name in targets if not re.search(rf"^{name}:", makefile, re.M)] == []


@pytest.mark.parametrize("page", ["README.md", "docs/architecture.md", "CONTRIBUTING.md"])
def test_links_inside_the_project_lead_somewhere(page: str) -> None:
    here = (ROOT / page).parent
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", _read(page)) if "://" not in link]
    assert [link for link in links if not (here / link).exists()] == []


def test_a_changelog_with_an_unreleased_part_exists() -> None:
    assert "## Unreleased" in _read("CHANGELOG.md")
