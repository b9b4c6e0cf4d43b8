"""Metrics as Prometheus reads them: from the exporter of a Ray that really runs."""

from __future__ import annotations

import subprocess
import sys
import tempfile

import pytest

pytestmark = [pytest.mark.cluster]

PROGRAM = """
import json, sys, time, urllib.request
import ray
# A folder of its own: Rays that share one overwrite each other's list of exporters.
folder = sys.argv[1]
own = {"object_store_memory": 100 << 20, "_temp_dir": folder}
ray.init(address="local", num_cpus=1, include_dashboard=True, dashboard_port=0, **own)

@ray.remote
class Worker:
    def __init__(self):
        from app.fleet.metrics import PrometheusMetrics
        self.hook = PrometheusMetrics("demo", "expert-00")
        self.hook.start(0)
    def step(self, step):
        from app.training.hooks import StepMetrics
        self.hook.step(StepMetrics(step, 100 * step, 2.5, 0.01, 1.0, 50.0, 1.0, time.time()))

worker = Worker.remote()
ray.get([worker.step.remote(step) for step in (3, 7)])
found, deadline = "", time.time() + 60
while "xelm_tokens_total" not in found and time.time() < deadline:
    time.sleep(1)
    targets = json.load(open(folder + "/prom_metrics_service_discovery.json"))[0]["targets"]
    texts = [urllib.request.urlopen(f"http://{target}/metrics").read().decode() for target in targets]
    found = "\\n".join(line for text in texts for line in text.splitlines() if line.startswith("ray_xelm"))
print(found)
"""


def test_tokens_loss_step_and_speed_are_exported_with_run_and_model() -> None:
    with tempfile.TemporaryDirectory(
        prefix="xm-", ignore_cleanup_errors=True
    ) as folder:  # short: sockets have long names
        command = [sys.executable, "-c", PROGRAM, folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=170)
    rows = {line.partition("{")[0]: line for line in done.stdout.splitlines() if line.startswith("ray_xelm")}
    assert set(rows) >= {"ray_xelm_tokens_total", "ray_xelm_loss", "ray_xelm_step"}, done.stderr[-2000:]
    assert all('run="demo"' in row and 'model="expert-00"' in row for row in rows.values())
    values = {name: float(row.rpartition(" ")[2]) for name, row in rows.items()}
    assert values["ray_xelm_tokens_total"] == 700 and values["ray_xelm_step"] == 7 and values["ray_xelm_loss"] == 2.5
