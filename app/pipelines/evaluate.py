"""Score every model on the same validation text, then compare the ensemble with dense and seed."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray

from app.allocation.storage import load_allocator
from app.artifacts.layout import (
    ALLOCATOR,
    DISTANCES,
    DOCUMENT_ROWS,
    SCORES_INDEX,
    SCORES_VALUES,
    SUMMARY,
    TABLE_CSV,
    TOKENIZER,
)
from app.artifacts.manifest import Manifest
from app.artifacts.store import StageFolder, Store
from app.config.schema import Config
from app.core.records import JsonObject
from app.pipelines.keys import StageInputs, evaluation_inputs, scores_inputs
from app.pipelines.models import dense_task, expert_tasks, seed_stage
from app.pipelines.parents import find_allocation, find_tokenizer, find_tokens
from app.pipelines.ray_session import ray_session
from app.pipelines.runs import Made

log = logging.getLogger(__name__)
