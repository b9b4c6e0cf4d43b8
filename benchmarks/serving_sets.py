"""The trained experts that ``benchmarks.serving`` measures, made by the project's own stages and kept in a store.

A set is made once: a second call finds its experts. Each prompt is the beginning of a held-out text, with the expert
that holds its language.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from app.artifacts.layout import FINAL_MODEL
from app.artifacts.store import Store
from app.config.load import load_config
from app.lineage.lineage import Lineage
from app.models.load import load_model
from benchmarks.serving_sides import EXPERTS, Set
from benchmarks.stages import UNTIL_EXPERTS, make

PROMPTS = 16


@dataclass(frozen=True)
class Recipe:
    """Eight typological experts: overrides of the preset ``demo``, tokens of a prompt, and tokens to make of it."""

    name: str
    overrides: tuple[str, ...]
    prompt: int
    tokens: int


def _trained(vocab_size: int, d_model: int, layers: int, seed_tokens: int, tokens: int) -> tuple[str, ...]:
    return (
        "seed.source=trained",
        f"seed.vocabulary_size={vocab_size}",
        f"seed.width={d_model}",
        f"seed.layers={layers}",
        f"seed.heads={layers}",
        f"seed.ffn_width={4 * d_model}",
        "seed.tokenizer_sample_bytes=2000000",
        f"seed.budget_tokens={seed_tokens}",
        f"training.budget_tokens={tokens}",
        "training.tokens_per_step=1024",
        "training.micro_batch_rows=8",
    )


DEMO = Recipe("demo", (), prompt=32, tokens=64)
LARGER = Recipe("larger", _trained(16_384, 256, 4, 300_000, 200_000), prompt=32, tokens=32)
LARGEST = Recipe("largest", _trained(32_768, 256, 4, 300_000, 200_000), prompt=32, tokens=32)
"""Its experts have about 46 MB each: one does not fit a core's cache."""


@dataclass(frozen=True)
class Measured:
    """A set and what it is asked: prompts, and the number of each one's own expert."""

    case: Set
    prompts: list[list[int]]
    owners: list[int]


def trained_set(recipe: Recipe, corpus: str, root: str) -> Measured:
    """The experts of a recipe, made where they are not there. corpus: folder in mC4's layout, the almanac where empty.

    Raises XelmError as the stages do.
    """
    settings = overrides(recipe, corpus, root)
    make(settings, UNTIL_EXPERTS)
    config = load_config("demo", overrides=settings)
    lineage = Lineage(config, Store(root))
    folders = [str(task.stage.local(FINAL_MODEL)) for task in lineage.experts]
    return Measured(sized(recipe, folders), *_prompts(lineage, recipe.prompt))


def drawn_set(case: Set) -> Measured:
    """A set of freshly drawn weights and prompts, for a smoke test."""
    prompts = np.random.default_rng(0).integers(2, case.vocab_size, size=(PROMPTS, case.prompt)).tolist()
    return Measured(case, prompts, [number % EXPERTS for number in range(PROMPTS)])


def overrides(recipe: Recipe, corpus: str, root: str) -> list[str]:
    """What the preset ``demo`` is changed to."""
    place = ["corpus.source=files", f"corpus.path={corpus}", "corpus.documents_per_language=2000"] if corpus else []
    chosen = [f"artifacts.root={root}", f"run.name=serving-{recipe.name}", f"allocation.k={EXPERTS}"]
    return [*recipe.overrides, *chosen, *place]


def sized(recipe: Recipe, folders: Sequence[str]) -> Set:
    """The set of these models, with the sizes that they have."""
    first = load_model(folders[0])
    config: Any = first.library_config()
    sizes = {
        "vocab_size": first.head.shape[0],
        "d_model": first.head.shape[1],
        "layers": len(first.layers),
        "heads": int(config.attention_heads),
        "ffn": int(config.ffn_dim),
        "context": int(first.context or recipe.prompt + recipe.tokens),
    }
    return Set(recipe.name, **sizes, prompt=recipe.prompt, tokens=recipe.tokens, folders=tuple(map(str, folders)))


def _prompts(lineage: Lineage, length: int) -> tuple[list[list[int]], list[int]]:
    """The first held-out documents that are long enough, language by language, and the expert of each language."""
    corpus = lineage.token_corpus
    homes = {lang: number for number, task in enumerate(lineage.experts) for lang in task.weights}
    prompts, owners = [], []
    for lang in corpus.languages():
        whole = (np.asarray(document.ids) for document in corpus.documents(lang, "validation"))
        for ids in islice((ids for ids in whole if len(ids) >= length), max(1, PROMPTS // len(corpus.languages()))):
            prompts.append([corpus.start_id, *ids[: length - 1].tolist()])
            owners.append(homes[lang])
    return prompts, owners
