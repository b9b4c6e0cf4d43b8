"""Served as docs/howto/run-on-a-cluster.md says: a replica on each of two machines, the store on a remote one."""

from __future__ import annotations

import re
import subprocess
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks import remote_store
from benchmarks.served import ROOT, Served
from tests.serve.test_handles import Api
from tests.serve.test_spread import BODY, packed_text
from tests.support.whole_run import WholeRun

PAGE = (ROOT / "docs/howto/run-on-a-cluster.md").read_text(encoding="utf-8")


def file_of_the_page(port: int, **args: object) -> dict[str, Any]:
    """The page's file, with another port, key and arguments."""
    (block,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.M | re.S)
    config: dict[str, Any] = yaml.safe_load(block)
    config["http_options"]["port"] = port
    (application,) = config["applications"]
    application["runtime_env"]["env_vars"]["XELM_API_KEYS"] = "key"
    application["args"] |= args
    return config


def known_file_system(folder: Path) -> str:
    """A PYTHONPATH on which fsspec finds the file system as it finds that of an installed package."""
    package = folder / "counted-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: counted\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[fsspec.specs]\ncounted = benchmarks.remote_store:CountedFileSystem\n")
    return f"{ROOT}:{folder}"


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_a_replica_on_each_of_two_machines_serves_a_run_of_a_remote_store(whole_run: WholeRun, tmp_path: Path) -> None:
    expected = packed_text(whole_run.root)
    environment = {"PYTHONPATH": known_file_system(tmp_path)}
    with remote_store.served(whole_run.root, 0.005, 1e8) as (server, uri), Served(1, environment) as served:
        served.add_machine(1)
        args = {"run": "tiny", "root": uri, "replicas": 2, "slots": 2, "cpus": 0.6, "gpus": 0}
        file = tmp_path / "served.yaml"
        file.write_text(yaml.safe_dump(file_of_the_page(served.port, **args)))
        serve = str(Path(sys.executable).parent / "serve")
        subprocess.run(
            [serve, "deploy", str(file), "--address", served.dashboard], env=served.environment, check=True, timeout=120
        )
        served.settle()
        replicas = served.deployments()["models"]["replicas"]
        assert len({replica["node_id"] for replica in replicas}) == len(replicas) == 2
        assert sum(remote_store.fetched(server).values()) > 0
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"http://127.0.0.1:{served.port}/v1/models", timeout=60)
        there = Api(served.port)
        with ThreadPoolExecutor(6) as pool:
            assert set(pool.map(there.text, [BODY] * 12)) == {expected}
        assert served.lose_machine()
        assert there.text(BODY) == expected
