"""The architecture, as data: who may import whom, and where each heavy library may appear."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.source import Module, modules

LAYERS = {
    "app.core": 0,
    "app.config": 1,
    "app.artifacts": 1,
    "app.models": 1,
    "app.corpora": 2,
    "app.tokens": 2,
    "app.allocation": 2,
    "app.ensemble": 2,
    "app.adaptation": 3,
    "app.training": 3,
    "app.evaluation": 3,
    "app.reporting": 4,
    "app.probes": 4,
    "app.lineage": 4,
    "app.fleet": 5,
    "app.planning": 6,
    "app.doctor": 7,
    "app.pipelines": 7,
    "jobs": 8,
    "tune": 9,
    "serve": 8,
}
FENCES = {
    "ray": ("app.fleet", "app.doctor", "app.pipelines", "jobs", "tune", "serve"),
    "pydantic": ("app.config", "serve"),
    "transformers": ("app.models", "app.tokens.tokenizer", "app.ensemble.exported"),
    "tokenizers": ("app.tokens.tokenizer",),
    "huggingface_hub": ("app.corpora.staging",),
    "datasketch": ("app.corpora.near_duplicates",),
    "lingua": ("app.corpora.identify",),
    "sklearn": ("app.allocation",),
    "scipy": ("app.allocation", "tune"),
    "lang2vec": (),  # its tables are read as package data
    "babel": ("app.core.languages", "app.corpora.almanac"),
    "jinja2": ("app.reporting",),
    "matplotlib": ("app.reporting.plots",),
    "tensorboardX": ("app.training.trackers",),
    "psutil": ("app.doctor.look",),
    "wandb": ("app.training.trackers",),
    "mlflow": ("app.training.trackers",),
    "torch": (
        "app.models",
        "app.training",
        "app.ensemble",
        "app.allocation",
        "app.probes",
        "app.fleet",
        "app.doctor",
        "app.pipelines",
        "serve",
    ),
}


SERVE_IMPORTS_BELOW = 3
"""A server loads what it needs from the store; it neither trains nor evaluates."""


def _package(name: str) -> str:
    parts = name.split(".")
    return ".".join(parts[:2]) if parts[0] == "app" else parts[0]


def forbidden_imports(module: Module) -> list[str]:
    """Imports that the tables above do not allow, each with the reason."""
    own = _package(module.name)
    wrong = []
    for imported in sorted(module.imports()):
        other = _package(imported)
        if other in LAYERS and other != own and LAYERS[other] >= LAYERS[own]:
            wrong.append(f"{imported}: layer {LAYERS[other]} from layer {LAYERS[own]}")
        if own == "serve" and other.startswith("app.") and LAYERS[other] >= SERVE_IMPORTS_BELOW:
            wrong.append(f"{imported}: serve imports layers 0 to {SERVE_IMPORTS_BELOW - 1} only")
        fence = FENCES.get(imported.split(".")[0])
        if fence is not None and not any(
            module.name == place or module.name.startswith(place + ".") for place in fence
        ):
            wrong.append(f"{imported}: only in {', '.join(fence) or 'no module'}")
    return wrong


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.name)
def test_a_module_imports_only_what_its_layer_allows(module: Module) -> None:
    assert forbidden_imports(module) == []


def test_every_package_has_a_layer() -> None:
    assert {_package(module.name) for module in modules()} <= set(LAYERS)


def test_the_check_sees_a_violation(tmp_path: Path) -> None:
    file = tmp_path / "bad.py"
    file.write_text("def f():\n    import ray\n    from app.fleet.run_fleet import train_fleet\n")
    assert len(forbidden_imports(Module("app.training.bad", file))) == 2
