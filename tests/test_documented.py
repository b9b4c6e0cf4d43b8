"""Whoever reads a public name finds what it is for."""

from __future__ import annotations

import ast

import pytest

from tests.support.source import Module, modules


def _undocumented(module: Module) -> list[str]:
    missing = [] if ast.get_docstring(module.tree()) else [module.name]
    for node in module.tree().body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            missing += [] if ast.get_docstring(node) else [node.name]
            members = node.body if isinstance(node, ast.ClassDef) else []
            for member in members:
                if isinstance(member, ast.FunctionDef) and not member.name.startswith("_"):
                    missing += [] if ast.get_docstring(member) else [f"{node.name}.{member.name}"]
    return missing


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.name)
def test_every_public_name_has_a_docstring(module: Module) -> None:
    assert _undocumented(module) == []
