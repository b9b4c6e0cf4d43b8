"""The store and the config that benchmarks and tests serve from."""

from __future__ import annotations

from pathlib import Path

from app.artifacts.ensemble import EnsembleRecord, read_ensemble, write_ensemble
from app.artifacts.store import Store
from benchmarks.served import free_ports, serve_config, two_versions


def test_ports_are_different_and_none_of_rays_workers() -> None:
    ports = free_ports(5)
    assert len(set(ports)) == 5 and all(not 10002 <= port <= 19999 for port in ports)


def test_the_config_is_the_shipped_one_on_another_port() -> None:
    config = serve_config(28000, run="x")
    assert config["http_options"]["host"] == "127.0.0.1" and config["http_options"]["port"] == 28000
    assert config["applications"][0]["args"] == {"run": "x"}


def test_the_second_version_mixes_evenly_and_the_run_itself_stays_as_it_is(tmp_path: Path) -> None:
    run = Store(str(tmp_path / "made")).run("r")
    first = write_ensemble(run, EnsembleRecord("r", (), "a", "t", {}, {"name": "posterior"}))
    (tmp_path / "made/store").mkdir()
    root, second = two_versions(tmp_path / "made", "r", tmp_path)
    assert (second.version, dict(second.mixing)) == (2, {"name": "uniform"})
    assert read_ensemble(Store(root).run("r"), "", 1) == first == read_ensemble(run, "")
    assert (Path(root) / "store").resolve() == tmp_path / "made/store"
