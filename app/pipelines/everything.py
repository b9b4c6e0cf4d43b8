"""All stages in order, in one Ray session."""

from __future__ import annotations

import logging
import time

from app.artifacts.layout import REPORT, SUMMARY
from app.artifacts.store import Folder, Store
from app.config.schema import Config
from app.core.records import JsonObject
from app.core.units import format_seconds
from app.fleet.control import obey_stop
from app.fleet.ray_session import ray_session
from app.lineage.lineage import Lineage
from app.lineage.runs import record
from app.pipelines.allocate import make_allocation
from app.pipelines.evaluate import make_evaluation
from app.pipelines.report import make_report, result_text
from app.pipelines.sample import make_samples
from app.pipelines.seed import make_seed
from app.pipelines.shard import make_shards
from app.pipelines.tokenize import make_tokens
from app.pipelines.train import train_all

log = logging.getLogger(__name__)

# A trained seed is trained on tokens, so `seed` makes tokenizer and tokens; `tokenize` then finds its work done.
_STAGES = (
    ("shard", make_shards),
    ("seed", make_seed),
    ("tokenize", make_tokens),
    ("allocate", make_allocation),
    ("train", train_all),
    ("evaluate", make_evaluation),
    ("sample", make_samples),
    ("report", make_report),
)


def run_everything(config: Config, store: Store, stops: Folder | None = None) -> JsonObject:
    """Run what is not done yet; returns the summary's headline and the text to print.

    stops: folder in which a stop is asked for, if not the run's own; one that is there ends this before the next stage.
    """
    lineage = Lineage(config, store, stops)
    # The stages' own sessions join this one: Ray, which takes seconds to start, starts once.
    with ray_session(config.cluster):
        began = time.monotonic()
        for number, (name, make) in enumerate(_STAGES, 1):
            obey_stop(stops or lineage.run)
            started = time.monotonic()
            log.info("stage %d of %d: %s", number, len(_STAGES), name)
            # After each stage: the run folder of a killed job names what there is.
            record(lineage, make(lineage))
            now = time.monotonic()
            log.info("%s: done in %s, %s in all", name, format_seconds(now - started), format_seconds(now - began))
    run = lineage.run
    return {"summary": f"{run.uri}/{SUMMARY}", "report": f"{run.uri}/{REPORT}", "text": result_text(lineage)}
