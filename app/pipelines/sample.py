"""What the models write: held-out documents, continued by an expert, by dense and by the mixture."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import ray
import torch

from app.allocation.base import Allocator
from app.allocation.storage import load_allocator
from app.artifacts.counts import ModelCounts
from app.artifacts.layout import ALLOCATOR, FINAL_MODEL, SAMPLES, TOKENIZER
from app.artifacts.store import StageFolder
from app.config.schema import Config
from app.core.records import FloatArray, JsonObject
from app.core.units import format_count, format_seconds
from app.ensemble.completion import complete
from app.ensemble.local_client import LocalClient
from app.ensemble.requests import Request, Weigher
from app.ensemble.routing import Alone, RequestRouter, resolve_weighting
from app.ensemble.rules import rule_of
from app.ensemble.sampling import Sampling
from app.evaluation.systems import DENSE, ENSEMBLE
from app.fleet.ray_session import ray_session
from app.lineage.inputs import PlannedStage
from app.lineage.lineage import Lineage
from app.lineage.runs import Made
from app.lineage.settings import weighting_settings
from app.models.causal import CausalLM
from app.models.load import load_model
from app.pipelines.evaluate import language_shares
from app.pipelines.score import ANYWHERE
from app.tokens.dataset import TokenCorpus
from app.tokens.tokenizer import Tokenizer, load_tokenizer
from app.training.loop import choose_device

log = logging.getLogger(__name__)

_PROMPT_TOKENS = 16
_LOOKED_AT = 20
"""Held-out documents of a language among which one is looked for that is long enough."""
MOST_PARAMETERS = 4e9
"""Of all experts together, which one worker holds to mix them: 16 GB."""


@dataclass(frozen=True)
class Beginning:
    """How a held-out document begins. ids: the start token first; prompt: their text; held_out: how it goes on."""

    lang: str
    expert: str
    ids: Sequence[int]
    prompt: str
    held_out: str


def make_samples(lineage: Lineage) -> Made:
    """Generate what is not generated yet: ``samples.json``; nothing where ``evaluation.sample_tokens`` is 0."""
    config, stage = lineage.config, lineage.samples
    if not config.evaluation.sample_tokens:
        return {}
    if not stage.is_complete:
        models = {task.name: task.stage for task in lineage.experts}
        parameters = sum(model.counts(ModelCounts).parameters for model in models.values())
        mixed = parameters <= MOST_PARAMETERS
        if not mixed:
            log.warning(
                "sample: no text of the ensemble: its experts have %s parameters together, more than the %s that one"
                " worker holds for this; serve the run to see its text",
                *map(format_count, (parameters, MOST_PARAMETERS)),
            )
        held = languages_by_share(language_shares(lineage), list(models))
        models |= {task.name: task.stage for task in lineage.baselines if task.name == DENSE}
        parents = [planned.finished() for planned in (lineage.tokens, lineage.tokenizer, lineage.allocation)]
        with ray_session(config.cluster):
            gpus = config.training.gpus_per_expert
            task = ray.remote(_generate).options(num_cpus=1, num_gpus=gpus, scheduling_strategy=ANYWHERE)
            seconds = ray.get(task.remote(config, parents, models, held, mixed, stage))
        log.info("sample: generated in %s", format_seconds(seconds))
    return {"samples": stage.folder}


def languages_by_share(shares: Mapping[str, FloatArray], experts: Sequence[str]) -> dict[str, list[str]]:
    """Expert -> its languages, those first of which it holds the greatest share.

    shares: language -> (k,) share of its training tokens that each expert holds.
    """
    return {
        expert: sorted((lang for lang in shares if shares[lang][e] > 0), key=lambda lang: (-shares[lang][e], lang))
        for e, expert in enumerate(experts)
    }


def _generate(
    config: Config,
    parents: Sequence[StageFolder],
    models: Mapping[str, StageFolder],
    held: Mapping[str, Sequence[str]],
    mixed: bool,
    stage: PlannedStage,
) -> float:
    started = time.monotonic()
    # As many as the task has asked Ray for: more would take the cores of tasks beside it.
    torch.set_num_threads(1)
    tokens, tokenizer_stage, allocation = parents
    corpus, tokenizer = TokenCorpus.open(tokens), load_tokenizer(str(tokenizer_stage.local(TOKENIZER)))
    allocator = load_allocator(allocation.child(ALLOCATOR).read)
    begin, more = room_for(config.training.sequence_length, config.evaluation.sample_tokens)
    beginnings: list[Beginning] = []
    for expert, languages in held.items():
        # Lazily: a language without a usable document gives way to the expert's next one.
        found = (one for lang in languages for one in find_beginnings(corpus, tokenizer, lang, expert, begin, more))
        beginnings += islice(found, config.evaluation.sample_languages)
    texts: list[JsonObject] = [{} for _ in beginnings]

    def write(name: str, networks: Sequence[CausalLM], weigher: Callable[[Sequence[int]], Weigher]) -> None:
        # An expert goes on with beginnings of its own languages alone, dense and the ensemble with all.
        places = [place for place, one in enumerate(beginnings) if name in (one.expert, DENSE, ENSEMBLE)]
        written = continuations(networks, weigher, [beginnings[place].ids for place in places], tokenizer, more)
        for place, text in zip(places, written, strict=True):
            texts[place][name] = text

    device, kept = choose_device("auto"), []
    for name in held:
        network = load_model(str(models[name].local(FINAL_MODEL))).to(device).eval()
        write(name, [network], lambda _ids: Alone())
        # Without a mixture no expert is kept once it has written.
        kept += [network] if mixed else []
    if mixed:
        write(ENSEMBLE, kept, untold_weigher(config, allocator, tokenizer))
    write(DENSE, [load_model(str(models[DENSE].local(FINAL_MODEL))).to(device).eval()], lambda _ids: Alone())
    samples: list[JsonObject] = [
        {"lang": one.lang, "expert": one.expert, "prompt": one.prompt, "held_out": one.held_out, "texts": written}
        for one, written in zip(beginnings, texts, strict=True)
    ]
    stage.folder.write_json(SAMPLES, {"samples": samples})
    seconds = time.monotonic() - started
    stage.publish({"samples": len(samples), "tokens": more}, seconds)
    return seconds


def room_for(sequence_length: int, tokens: int) -> tuple[int, int]:
    """Tokens of a beginning, and of what follows, that a row holds. tokens: that shall follow."""
    room = sequence_length - 1
    begin = min(_PROMPT_TOKENS, max(1, room // 2))
    return begin, min(tokens, room - begin)


def untold_weigher(config: Config, allocator: Allocator, tokenizer: Tokenizer) -> Callable[[Sequence[int]], Weigher]:
    """The run's weights where the language is not told, as serving has them."""
    settings = weighting_settings(config)
    settings = replace(settings, name=resolve_weighting(settings.name, allocator.unit, told=False))
    reads_text = rule_of(settings).needs.distances

    def weigher(ids: Sequence[int]) -> Weigher:
        # Decoding is only for rules that look at text; the start token is no part of the request's own tokens.
        return RequestRouter(allocator, settings, None, tokenizer.decode(ids) if reads_text else "", ids[1:])

    return weigher


def find_beginnings(
    corpus: TokenCorpus, tokenizer: Tokenizer, lang: str, expert: str, begin: int, more: int, count: int = 1
) -> list[Beginning]:
    """The first ``begin`` tokens, or half, of held-out documents: the first that have ``begin + more``, then long ones.

    Fewer than ``count`` where the language has not so many held-out documents of two tokens. No character is cut.
    """
    controls = {corpus.start_id, corpus.end_id}
    documents = [
        [token for token in document.ids.tolist() if token not in controls]
        for document in islice(corpus.documents(lang, "validation"), _LOOKED_AT * count)
    ]
    # The sort is stable and all that are long enough rank alike: so these come first, in corpus order.
    chosen = sorted(documents, key=lambda ids: -min(len(ids), begin + more))[:count]
    found = (_beginning(tokenizer, lang, expert, ids, min(begin, len(ids) // 2), more) for ids in chosen)
    return [replace(one, ids=[corpus.start_id, *one.ids]) for one in found if one.ids]


def _beginning(tokenizer: Tokenizer, lang: str, expert: str, ids: Sequence[int], cut: int, more: int) -> Beginning:
    """Without the start token; without any where no whole character fits."""
    # A token may end in the middle of a character's bytes; decoding shows what is left of it as U+FFFD.
    while cut and tokenizer.decode(ids[:cut]).endswith("\ufffd"):
        cut -= 1
    pieces = tokenizer.pieces(ids[: cut + more])
    return Beginning(lang, expert, ids[:cut], "".join(pieces[:cut]), "".join(pieces[cut:]).rstrip("\ufffd"))


def continuations(
    networks: Sequence[CausalLM],
    weigher: Callable[[Sequence[int]], Weigher],
    prompts: Sequence[Sequence[int]],
    tokenizer: Tokenizer,
    tokens: int,
) -> list[JsonObject]:
    """Each prompt's ``text``, the most probable token each time, whether it ``ended``, and its number of ``tokens``."""
    if not prompts:
        return []
    sampling, ends = Sampling(max_tokens=tokens, temperature=0.0), frozenset({tokenizer.end_id})
    experts = range(len(networks))
    requests = [Request(ids, experts, weigher, tokenizer.stream, sampling, stop_ids=ends) for ids in prompts]
    client = LocalClient(networks, len(requests), max(map(len, prompts)) + tokens)
    return [
        {"text": done.text.rstrip("\ufffd"), "ended": done.finish == "stop", "tokens": done.tokens}
        for done in complete(client, requests)
    ]
