from __future__ import annotations

import ast
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from app.ensemble import exported
from app.ensemble.exported import posterior_weights
from app.ensemble.routing import document_weights
from app.ensemble.rules import WeightingSettings

PLAIN = WeightingSettings("posterior")
RULES = (
    PLAIN,
    replace(PLAIN, power=0.4, forgetting=0.9),
    replace(PLAIN, drop_below=0.05, rescore_every=4),
    replace(PLAIN, drop_below=0.2, rescore_every=0),
    replace(PLAIN, drop_below=0.3, rescore_every=3, top_m=1),
    replace(PLAIN, drop_below=0.0, top_m=2),
)


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("prior", [None, (0.7, 0.3, 0.0), (0.1, 0.2, 0.7)])
def test_weights_are_those_of_the_product(rule: WeightingSettings, prior: tuple[float, ...] | None) -> None:
    scores = np.log(np.random.default_rng(7).dirichlet([0.4] * 5, size=(40, 3))[:, :, 0] + 1e-9)
    ours = document_weights(rule, [40], scores, prior=None if prior is None else np.array(prior)).weights
    given = torch.tensor(prior or (1 / 3,) * 3, dtype=torch.float64)
    theirs = posterior_weights(asdict(rule), given, torch.from_numpy(scores))
    assert theirs.shape == (41, 3)
    np.testing.assert_allclose(theirs[:40].numpy(), ours, atol=1e-12)


def test_a_token_that_every_expert_rules_out_leaves_the_weights_as_they_were() -> None:
    scores = torch.tensor([[-1.0, -2.0], [-torch.inf, -torch.inf]], dtype=torch.float64)
    rows = posterior_weights(asdict(PLAIN), torch.tensor([0.5, 0.5], dtype=torch.float64), scores)
    torch.testing.assert_close(rows[2], rows[1])


def test_the_file_needs_torch_and_transformers_and_nothing_of_this_project() -> None:
    tree = ast.parse(Path(exported.__file__).read_text(encoding="utf-8"))
    found = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    found |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert found == {"__future__", "collections.abc", "json", "pathlib", "torch", "transformers", "typing"}
