"""``jobs.train`` whose elastic runs look for room each second; Ray's own minute is longer than a test."""

from __future__ import annotations

import sys
from functools import partial

from ray.train import ScalingConfig

from app.pipelines import machines
from jobs.train import main

if __name__ == "__main__":
    machines.ScalingConfig = partial(ScalingConfig, elastic_resize_monitor_interval_s=1.0)  # type: ignore[misc]
    sys.exit(main())
