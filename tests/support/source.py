"""The project's own source, as the guard tests look at it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("app", "jobs", "tune", "serve")


@dataclass(frozen=True)
class Module:
    """One source file under its import name."""

    name: str
    path: Path

    def tree(self) -> ast.Module:
        """Its syntax tree."""
        return ast.parse(self.path.read_text(encoding="utf-8"))

    def imports(self) -> set[str]:
        """Every module it imports, also inside functions, as dotted names."""
        found: set[str] = set()
        for node in ast.walk(self.tree()):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module)
        return found


def modules(*packages: str) -> list[Module]:
    """All modules of the packages, sorted by name, empty ``__init__`` files left out."""
    return list(_modules(packages or PACKAGES))


def _modules(packages: tuple[str, ...]) -> Iterator[Module]:
    for package in packages:
        for path in sorted((ROOT / package).rglob("*.py")):
            if path.name != "__init__.py":
                yield Module(".".join(path.relative_to(ROOT).with_suffix("").parts), path)
