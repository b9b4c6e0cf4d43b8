"""What grows with the number of languages: every stage over up to 100 languages of the almanac, and a fleet of 64.

``python -m benchmarks.languages [--small] [--format json]``. CPU seconds of each stage, less those of four languages,
fitted against languages; and less those of few documents, against documents at 25 languages. Cuts and routing at k = 4,
16 and 64, training at k = 4. Then 64 experts of 20 steps each, which is what a fleet costs beside its training.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np

from app.allocation.prefixes import prefix_distances
from app.allocation.storage import load_allocator
from app.artifacts.layout import ALLOCATOR, TOKENIZER
from app.artifacts.store import Store
from app.config.load import load_config
from app.core.records import JsonObject
from app.core.seeding import generator
from app.corpora.almanac import almanac_languages
from app.ensemble.routing import document_weights
from app.ensemble.rules import WeightingSettings
from app.fleet.ray_session import ray_session
from app.lineage.lineage import Lineage
from app.lineage.runs import Made, record
from app.pipelines.allocate import make_allocation
from app.pipelines.evaluate import make_evaluation
from app.pipelines.score import validation_blocks
from app.pipelines.seed import make_seed
from app.pipelines.shard import make_shards
from app.pipelines.tokenize import make_tokens
from app.pipelines.train import train_all, train_experts
from app.reporting.tables import markdown_table
from app.tokens.tokenizer import load_tokenizer
from benchmarks import measure
from benchmarks.scale_documents import watched
from benchmarks.scale_fit import exponent

KS = (4, 16, 64)
CUTS = ("typological", "tfidf")
_BASE_LANGUAGES, _LANGUAGES, _DOCUMENTS = 4, (25, 50, 100), 100
_BASE_DOCUMENTS, _MORE_DOCUMENTS, _AT_LANGUAGES = 15, (50, 100, 200), 25
_TOKENS_OF_A_DOCUMENT = 100
"""What training takes of each, about: so that its tokens follow languages and documents."""
_FLEET, _FLEET_STEPS, _STEP_TOKENS = 64, 20, 2048
_ALONE = ("eo", "ia", "ie")
"""Constructed languages: of no family, from which a typological cut could borrow what URIEL does not know of them."""
_MAKE = {"shard": make_shards, "seed": make_seed, "tokenize": make_tokens}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit status."""
    arguments = measure.parser("languages", __doc__).parse_args(argv)
    small = arguments.small
    languages, documents = ((8, 12), 20) if small else (_LANGUAGES, _DOCUMENTS)
    at, more = (8, (30, 40)) if small else (_AT_LANGUAGES, _MORE_DOCUMENTS)
    by_languages = {count: _side(count, documents) for count in (_BASE_LANGUAGES, *languages)}
    by_documents = {count: _side(at, count) for count in (_BASE_DOCUMENTS, *more)}
    found: JsonObject = {
        "benchmark": "languages",
        "surroundings": measure.surroundings("ray", "torch", "numpy"),
        "exponent_by_languages": exponents(by_languages),
        "exponent_by_documents": exponents(by_documents),
        "by_languages": {str(count): side for count, side in by_languages.items()},
        "by_documents": {str(count): side for count, side in by_documents.items()},
        "fleet": measure.run_side("benchmarks.languages:fleet", {"models": 4 if small else _FLEET}),
    }
    if arguments.format == "json":
        measure.show(found, arguments.format)
    else:
        print(_as_text(found, by_languages))
    return 0


def exponents(found: Mapping[int, JsonObject]) -> JsonObject:
    """Stage -> slope of the log of its CPU seconds, less those of the smallest size; None where nothing is to be fitted
    (``scale_fit.exponent``). A cut in more experts than the smallest size has languages is fitted as it is.
    """
    base, *larger = sorted(found)
    spent = {size: measure.record(side, "cpu_seconds") for size, side in found.items()}
    fitted: JsonObject = {}
    for stage in spent[larger[-1]]:
        seconds = {size: measure.number(spent[size], stage) for size in larger if stage in spent[size]}
        fitted[stage] = exponent(seconds, measure.number(spent[base], stage) if stage in spent[base] else 0.0)
    return fitted


def stages(languages: int, documents: int) -> JsonObject:
    """All stages but the report over so many languages with so many documents each, in this process and on a Ray of its
    own: CPU seconds of both together and seconds on the clock by stage, and the peak of the largest worker.
    """
    cpu, clock = dict[str, float](), dict[str, float]()
    with tempfile.TemporaryDirectory() as folder, watched() as watch, ray_session(load_config("demo").cluster):
        for name, work in _planned(languages, documents, folder):
            began, before = time.monotonic(), watch.cpu_seconds()
            work()
            clock[name] = time.monotonic() - began
            cpu[name] = watch.cpu_seconds() - before
    return {"cpu_seconds": dict(cpu), "seconds": dict(clock), "worker_peak_bytes": watch.worker_peak_bytes}


def fleet(models: int) -> JsonObject:
    """Experts of 20 steps each: seconds of the fleet, those that its models trained, and their share of slot time."""
    tokens = models * _FLEET_STEPS * _STEP_TOKENS
    with tempfile.TemporaryDirectory() as folder, ray_session(load_config("demo").cluster):
        lineage = _lineage(folder, max(models, 4), 40, "typological", models, tokens)
        for make in (*_MAKE.values(), make_allocation):
            record(lineage, make(lineage))
        began = time.monotonic()
        record(lineage, train_experts(lineage))
        seconds = time.monotonic() - began
        training = sum(float(str(task.stage.manifest().seconds)) for task in lineage.experts)
    slots = lineage.config.cluster.cpus or measure.surroundings()["cores"]
    return {
        "models": models,
        "seconds": seconds,
        "training_seconds": training,
        "seconds_beside_training": (seconds * float(str(slots)) - training) / models,
        "training_over_slot_time": training / (seconds * float(str(slots))),
    }


def _side(languages: int, documents: int) -> JsonObject:
    found = measure.run_side("benchmarks.languages:stages", {"languages": languages, "documents": documents})
    print(f"stages over {languages} languages, {documents} documents each: done", file=sys.stderr, flush=True)
    return found


def _planned(languages: int, documents: int, folder: str) -> Iterator[tuple[str, Callable[[], object]]]:
    """Name and work of each stage in order. A cut is a stage of its own for each k that so many languages allow."""
    tokens = languages * documents * _TOKENS_OF_A_DOCUMENT

    def made(make: Callable[[Lineage], Made], strategy: str, k: int) -> Callable[[], object]:
        def work() -> None:
            # A new lineage for each: what is finished is looked up once in its life.
            lineage = _lineage(folder, languages, documents, strategy, k, tokens)
            record(lineage, make(lineage))

        return work

    for name, make in _MAKE.items():
        yield name, made(make, "typological", 4)
    for strategy in CUTS:
        for k in KS:
            if k <= languages:
                yield f"allocate {strategy} k={k}", made(make_allocation, strategy, k)
                lineage = _lineage(folder, languages, documents, strategy, k, tokens)
                yield f"route {strategy} k={k}", partial(route, lineage)
    yield "train k=4", made(train_all, "typological", 4)
    yield "evaluate k=4", made(make_evaluation, "typological", 4)


def route(lineage: Lineage) -> None:
    """Distances of every prefix of the held-out documents to each expert, and the running posterior's weights.

    What experts would say of the tokens is drawn: its cost is that of evaluation, and it has no part in this one.
    """
    allocator = load_allocator(lineage.allocation.finished().child(ALLOCATOR).read)
    tokenizer = load_tokenizer(str(lineage.tokenizer.finished().local(TOKENIZER)))
    k, random = len(allocator.experts), generator(0, "routing")
    settings = WeightingSettings("posterior")
    for block, texts in validation_blocks(lineage.config, lineage.token_corpus, tokenizer):
        if allocator.unit == "document":
            for ids in texts:
                prefix_distances(allocator, None, ids, tokenizer.pieces)
        document_weights(settings, block.length, np.log(random.random((block.num_tokens, k))))


def _lineage(folder: str, languages: int, documents: int, strategy: str, k: int, tokens: int) -> Lineage:
    known = [lang for lang in almanac_languages() if lang not in _ALONE]
    overrides = [
        "run.name=languages",
        f"corpus.languages={','.join(known[:languages])}",
        "allocation.fallback=family",
        f"corpus.documents_per_language={documents}",
        f"corpus.validation_documents_per_language={max(2, documents // 10)}",
        "evaluation.max_documents_per_language=1000",
        f"allocation.strategy={strategy}",
        f"allocation.k={k}",
        f"training.budget_tokens={tokens}",
        "training.budget_split=equal",
        f"training.tokens_per_step={_STEP_TOKENS}",
        f"artifacts.root={folder}",
    ]
    config = load_config("demo", overrides=overrides)
    return Lineage(config, Store(config.artifacts.root))


def _as_text(found: JsonObject, by_languages: Mapping[int, JsonObject]) -> str:
    largest = max(by_languages)
    spent = measure.record(by_languages[largest], "cpu_seconds")
    fits = [measure.record(found, f"exponent_by_{what}") for what in ("languages", "documents")]
    rows = [
        [stage, f"{measure.number(spent, stage):.1f}", *(_fitted(fit.get(stage)) for fit in fits)] for stage in spent
    ]
    header = ["stage", f"CPU seconds, {largest} languages", "exponent by languages", "by documents"]
    fleet_rows = [[name, f"{value:.4g}"] for name, value in measure.record(found, "fleet").items()]
    return f"{markdown_table(header, rows)}\n\n{markdown_table(['fleet', ''], fleet_rows)}"


def _fitted(value: object) -> str:
    return "" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    sys.exit(main())
