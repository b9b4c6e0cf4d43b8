"""Importing does nothing and needs nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.source import ROOT, modules

_READ_BY_LOCUST = "benchmarks.serving_users"
"""Importing locust patches the process's sockets and its sleep; it reads this file in a process of its own."""

_IMPORT_ALL = """
import importlib, logging, os, sys
sys.path.insert(0, sys.argv[1])
environment, handlers = dict(os.environ), list(logging.getLogger().handlers)
for name in sys.argv[2:]:
    importlib.import_module(name)
import ray, torch
assert not ray.is_initialized(), "ray was started"
assert logging.getLogger().handlers == handlers, "logging was set up"
changed = {key for key in os.environ if environment.get(key) != os.environ[key]}
ours = {key for key in changed if not key.startswith(("RAY_", "KMP_", "TORCH", "TRITON", "PYTORCH", "LC_", "CUDA"))}
assert not ours, f"environment changed: {ours}"
"""

_WITHOUT = """
import importlib, sys
sys.path.insert(0, sys.argv[1])
for name in ("ray", "pydantic"):
    sys.modules[name] = None
for name in sys.argv[2:]:
    importlib.import_module(name)
"""


def _python(program: str, names: list[str], cwd: Path, environment: dict[str, str]) -> None:
    command = [sys.executable, "-W", "ignore", "-c", program, str(ROOT), *names]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_importing_every_module_does_nothing(tmp_path: Path) -> None:
    names = [module.name for module in modules("app", "jobs", "serve", "benchmarks") if module.name != _READ_BY_LOCUST]
    _python(_IMPORT_ALL, names, tmp_path, {"PATH": "", "HOME": str(tmp_path)})
    assert list(tmp_path.iterdir()) == []


def test_training_and_decoding_need_neither_ray_nor_pydantic(tmp_path: Path) -> None:
    packages = (
        "app/core",
        "app/models",
        "app/training",
        "app/ensemble",
        "app/evaluation",
        "app/tokens",
        "app/artifacts",
    )
    _python(_WITHOUT, [module.name for module in modules(*packages)], tmp_path, {"PATH": "", "HOME": str(tmp_path)})
