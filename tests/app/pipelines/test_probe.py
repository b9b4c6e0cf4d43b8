from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from app.artifacts.store import Store
from app.config.load import load_config
from app.config.schema import Config
from app.lineage.lineage import Lineage
from app.pipelines.allocate import make_allocation
from app.pipelines.probe import make_probes, measured
from jobs.allocate import main
from tests.support.tiny import TINY

FAST = ("probes.rows=6", "probes.steps=2")


def probed(run: Store, root: Path, strategy: str) -> Lineage:
    """A copy of the run, to be cut by this strategy."""
    shutil.copytree(run.root, root)
    overrides = [*TINY, *FAST, f"artifacts.root={root}", f"allocation.strategy={strategy}"]
    return Lineage(load_config("demo", overrides=overrides), Store(str(root)))


def test_a_dry_run_says_which_probes_will_be_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--dry-run", "--format", "json", f"--set=artifacts.root={tmp_path}"]
    assert main([*options, "--set=allocation.strategy=parameter_deviation"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["probes"] == ["deviation"] and "clusters" not in found
    assert main(options) == 0
    assert "probes" not in json.loads(capsys.readouterr().out)


@pytest.mark.timeout(600)
def test_what_was_measured_before_a_kill_is_kept_and_the_cut_follows_the_distances(
    tiny_run: tuple[Config, Store], tmp_path: Path
) -> None:
    lineage = probed(tiny_run[1], tmp_path / "root", "transfer")
    (stage,) = lineage.probes.values()
    sentinel = np.array([9.0, 1.0, 1.0, 1.0])
    (tmp_path / "root" / "store/probe" / stage.key).mkdir(parents=True)
    np.save(tmp_path / "root" / "store/probe" / stage.key / "de.npy", sentinel)  # of an attempt that was killed
    (distances,) = make_probes(lineage).values()
    tokens, seed = lineage.tokens.finished(), lineage.seed.finished()
    rows = [sentinel]
    others = ("en", "hi", "ja")
    rows += [measured(lineage.config, "transfer", tokens, seed, lineage.languages, lang).vector for lang in others]
    table = np.stack(rows)
    expected = (table + table.T) / 2
    np.fill_diagonal(expected, 0.0)
    assert distances == pytest.approx(expected, abs=1e-4)
    assert all(row[place] < 0 for place, row in enumerate(rows) if place)  # a language learns from itself
    clusters = make_allocation(lineage)["allocation"].manifest().counts["clusters"]
    assert isinstance(clusters, list) and sorted(lang for group in clusters for lang in group) == [
        "de",
        "en",
        "hi",
        "ja",
    ]  # type: ignore[union-attr, arg-type]


@pytest.mark.timeout(600)
def test_the_deviation_of_each_layer_is_kept_beside_the_distances(
    tiny_run: tuple[Config, Store], tmp_path: Path
) -> None:
    lineage = probed(tiny_run[1], tmp_path / "root", "parameter_deviation")
    found = make_allocation(lineage)["allocation"].read_json("probe.json")["layers"]
    tokens, seed = lineage.tokens.finished(), lineage.seed.finished()
    each = [measured(lineage.config, "deviation", tokens, seed, lineage.languages, lang) for lang in lineage.languages]
    layers = [one.layers for one in each]
    assert isinstance(found, dict) and len(layers) == 4 and all(of is not None for of in layers)
    assert found["mean"] == pytest.approx(np.mean(layers, axis=0))
    # The last layers' vector has the norms of the last layers in it.
    for one in each:
        assert one.layers is not None
        assert np.linalg.norm(one.vector) == pytest.approx(np.linalg.norm(one.layers[-3:]), rel=1e-4)
