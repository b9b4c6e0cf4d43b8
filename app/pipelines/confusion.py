"""Text in every language by seed, dense, the experts and their mixture, and how much of it is in that language."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Mapping, Sequence

import ray
import torch

from app.allocation.storage import load_allocator
from app.artifacts.counts import ModelCounts
from app.artifacts.layout import ALLOCATOR, CONFUSION, FINAL_MODEL, TOKENIZER, written_name
from app.artifacts.store import Folder, StageFolder
from app.config.schema import Config
from app.core.languages import script
from app.core.records import JsonObject
from app.core.units import format_seconds
from app.corpora.identify import known_languages, most_likely
from app.ensemble.requests import Weigher
from app.ensemble.routing import Alone
from app.evaluation.confusion import as_counts, judge
from app.evaluation.costs import EXPERT
from app.evaluation.systems import DENSE, ENSEMBLE, SEED
from app.fleet.ray_session import ray_session
from app.lineage.inputs import PlannedStage
from app.lineage.lineage import Lineage
from app.models.causal import CausalLM
from app.models.load import load_model
from app.pipelines.evaluate import language_shares
from app.pipelines.sample import (
    MOST_PARAMETERS,
    Beginning,
    continuations,
    find_beginnings,
    languages_by_share,
    room_for,
    untold_weigher,
)
from app.pipelines.score import ANYWHERE
from app.tokens.dataset import TokenCorpus
from app.tokens.tokenizer import Tokenizer, load_tokenizer
from app.training.loop import choose_device

log = logging.getLogger(__name__)

HELD_OUT = "held_out"
"""The documents themselves, beside what seed, dense, the expert that holds most of a language, and all experts do."""
_SYSTEMS = (HELD_OUT, SEED, DENSE, EXPERT, ENSEMBLE)
_LATIN = "Latn"
_Weigh = Callable[[Sequence[int]], Weigher]


def make_confusion(lineage: Lineage) -> StageFolder:
    """Generate and judge what is not there yet: a file for each system and language as it is written, then
    ``confusion.json``: system -> language -> counts, tokens and seconds; and ``unknown``, the languages that cannot be
    told. Raises ConfigError without the extra ``langid``, before anything is generated.
    """
    known, stage = known_languages(), lineage.confusion
    if stage.is_complete:
        return stage.folder
    started, config = time.monotonic(), lineage.config
    owners = {expert: langs for expert, langs in _owned(lineage).items() if langs}
    models = {task.name: task.stage for task in lineage.experts} | {SEED: lineage.seed.finished()}
    models |= {task.name: task.stage for task in lineage.baselines if task.name == DENSE}
    mixed = sum(task.stage.counts(ModelCounts).parameters for task in lineage.experts) <= MOST_PARAMETERS
    if not mixed:
        log.warning("cross_lingual: no text of the ensemble: one worker cannot hold all its experts")
    parents = [planned.finished() for planned in (lineage.tokens, lineage.tokenizer, lineage.allocation)]
    with ray_session(config.cluster):
        gpus = config.training.gpus_per_expert
        task = ray.remote(_generate).options(num_cpus=1, num_gpus=gpus, scheduling_strategy=ANYWHERE)
        ray.get(task.remote(config, parents, models, owners, mixed, stage))
    languages = sorted(lang for held in owners.values() for lang in held)
    systems = [name for name in _SYSTEMS if mixed or name != ENSEMBLE]
    found = judged(stage.folder, systems, languages)
    stage.folder.write_json(CONFUSION, {"systems": found, "unknown": [lang for lang in languages if lang not in known]})
    seconds = time.monotonic() - started
    stage.publish({"systems": len(systems), "languages": len(languages)}, seconds)
    log.info("cross_lingual: generated and judged in %s", format_seconds(seconds))
    return stage.folder


def _owned(lineage: Lineage) -> dict[str, list[str]]:
    """Expert -> the languages of which it holds most."""
    shares, names = language_shares(lineage), [task.name for task in lineage.experts]
    held = languages_by_share(shares, names)
    return {name: [lang for lang in held[name] if int(shares[lang].argmax()) == e] for e, name in enumerate(names)}


def _generate(
    config: Config,
    parents: Sequence[StageFolder],
    models: Mapping[str, StageFolder],
    owners: Mapping[str, Sequence[str]],
    mixed: bool,
    stage: PlannedStage,
) -> None:
    torch.set_num_threads(1)
    tokens, tokenizer_stage, allocation = parents
    corpus, tokenizer = TokenCorpus.open(tokens), load_tokenizer(str(tokenizer_stage.local(TOKENIZER)))
    begin, more = room_for(config.training.sequence_length, config.evaluation.confusion_tokens)
    count, device = config.evaluation.confusion_texts, choose_device("auto")
    beginnings = {
        lang: find_beginnings(corpus, tokenizer, lang, expert, begin, more, count)
        for expert, languages in owners.items()
        for lang in languages
    }
    write_missing(stage.folder, HELD_OUT, beginnings, _themselves)

    def load(*names: str) -> list[CausalLM]:
        return [load_model(str(models[name].local(FINAL_MODEL))).to(device).eval() for name in names]

    def by(names: Sequence[str], weigher: _Weigh, system: str, languages: Sequence[str]) -> None:
        # Filled below, and only if a file is missing: a job that goes on loads no model for what is written.
        networks: list[CausalLM] = []

        def write(prompts: Sequence[Beginning]) -> list[JsonObject]:
            return continuations(networks, weigher, [one.ids for one in prompts], tokenizer, more)

        mine = {lang: beginnings[lang] for lang in languages}
        if any(not stage.folder.exists(written_name(system, lang)) for lang in mine):
            networks += load(*names)
            write(next(iter(mine.values()))[:1])  # the first of a process pays for what the others find ready
            write_missing(stage.folder, system, mine, write)

    for name in (SEED, DENSE):
        by([name], lambda _ids: Alone(), name, list(beginnings))
    for expert, languages in owners.items():
        by([expert], lambda _ids: Alone(), EXPERT, languages)
    if mixed:
        by(_experts(models), _weigher(config, allocation, tokenizer), ENSEMBLE, list(beginnings))


def _experts(models: Mapping[str, StageFolder]) -> list[str]:
    return [name for name in models if name not in (SEED, DENSE)]


def _weigher(config: Config, allocation: StageFolder, tokenizer: Tokenizer) -> _Weigh:
    return untold_weigher(config, load_allocator(allocation.child(ALLOCATOR).read), tokenizer)


def _themselves(beginnings: Sequence[Beginning]) -> list[JsonObject]:
    # No tokens: none was generated, so the costs leave these rows out.
    return [{"text": one.held_out, "ended": False, "tokens": 0} for one in beginnings]


def write_missing(
    folder: Folder,
    system: str,
    beginnings: Mapping[str, Sequence[Beginning]],
    write: Callable[[Sequence[Beginning]], list[JsonObject]],
) -> None:
    """One file for each language that has none: ``texts`` with their prompts, ``tokens`` written, ``seconds`` taken."""
    for lang, prompts in beginnings.items():
        if folder.exists(written_name(system, lang)):
            continue
        started = time.perf_counter()
        written = write(prompts)
        seconds = time.perf_counter() - started
        texts: list[JsonObject] = [{"prompt": one.prompt, **text} for one, text in zip(prompts, written, strict=True)]
        tokens = sum(int(str(text["tokens"])) for text in written)
        row: JsonObject = {"system": system, "lang": lang, "tokens": tokens, "seconds": seconds, "texts": list(texts)}
        folder.write_json(written_name(system, lang), row)


def judged(folder: Folder, systems: Sequence[str], languages: Sequence[str]) -> JsonObject:
    """System -> language -> counts of what was written, with ``tokens`` and ``seconds``; languages that the identifier
    does not know have these two alone.
    """
    # Among the run's languages alone: on short text the identifier is right less often among all it knows.
    told = known_languages() & frozenset(languages)

    # Outputs, lines and words are asked for one by one, and words come again and again.
    @functools.cache
    def identify(text: str) -> str | None:
        found = most_likely(text, told)
        return found[0] if found else None

    table: JsonObject = {}
    for system in systems:
        table[system] = row = {}
        for lang in languages:
            written = folder.read_json(written_name(system, lang))
            row[lang] = {"tokens": written["tokens"], "seconds": written["seconds"]}
            texts = written["texts"]
            assert isinstance(texts, list)
            # With one language the identifier has nothing to tell it from.
            if lang in told and len(told) > 1:
                said = [str(text["text"]) for text in texts if isinstance(text, dict)]
                row[lang] |= as_counts(judge(said, lang, identify, script(lang) == _LATIN))
    return table
