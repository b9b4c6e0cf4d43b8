"""``jobs.train`` at 0.6 s a step (the loop tells hooks of steps half a second apart); looks for room each second."""

from __future__ import annotations

import sys
from functools import partial
from unittest.mock import patch

from ray.train import ScalingConfig

from app.fleet import machines, run_fleet
from benchmarks.fleet import paced
from jobs.train import main

if __name__ == "__main__":
    eager = partial(ScalingConfig, elastic_resize_monitor_interval_s=1.0)
    slow = partial(machines.ray_machines, work=partial(paced, 0.6))
    with patch.object(machines, "ScalingConfig", eager), patch.object(run_fleet, "ray_machines", slow):
        sys.exit(main())
