"""What evaluation has kept of a run, token by token: of all held-out documents, or of as many as fit in memory."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import yaml

from app.allocation.storage import load_allocator
from app.artifacts.counts import ScoresCounts
from app.artifacts.layout import ALLOCATOR, CONFIG, distances_name
from app.artifacts.store import StageFolder, Store
from app.config.load import load_config_tree
from app.config.schema import Config
from app.core.errors import MissingArtifact
from app.core.records import FloatArray
from app.core.seeding import derive_seed
from app.ensemble.many import Prior
from app.ensemble.rules import RULES, WeightingSettings
from app.evaluation.scores import ScoredDocuments, read_array, read_blocks, scored_documents
from app.evaluation.systems import DENSE
from app.lineage.adapted import made_stage
from app.lineage.inputs import EVALUATE
from app.lineage.lineage import Lineage
from app.lineage.parts import Part, read_parts
from app.lineage.settings import weighting_settings
from app.pipelines.evaluate import language_shares
from app.tokens.dataset import TokenCorpus
from tune.halves import half_of

log = logging.getLogger(__name__)

MOST_BYTES = 1 << 30
"""Of scores and distances, 7.9 million tokens of 8 experts; halves and languages are copies, so the process may take
three times as much."""

_VALUE_BYTES = 8  # float64, as all weighting is computed
_SEEDS = 2**63  # derive_seed gives a number below this


@dataclass(frozen=True)
class Kept:
    """What is kept of a run. scores, distances: (tokens, k); dense: (tokens,) nats; unit: of the allocation.

    shares: language -> share of its training text that each expert holds. of: how many documents were scored;
    ``documents`` are all of them or those drawn.
    """

    documents: ScoredDocuments
    scores: FloatArray
    distances: FloatArray
    dense: FloatArray
    unit: str
    shares: Mapping[str, Prior]
    of: int

    def only(self, chosen: Sequence[int]) -> Kept:
        """Some of the documents, in this order."""
        documents = self.documents
        places = [np.arange(documents.offset[n], documents.offset[n] + documents.length[n]) for n in chosen]
        # The empty array is for a block of which no document is drawn: concatenate refuses an empty list.
        tokens = np.concatenate([np.zeros(0, dtype=np.int64), *places])
        named = scored_documents(
            [documents.doc_ids[n] for n in chosen],
            [documents.langs[n] for n in chosen],
            documents.length[list(chosen)].tolist(),
            documents.bytes[list(chosen)].tolist(),
        )
        return Kept(
            named, self.scores[tokens], self.distances[tokens], self.dense[tokens], self.unit, self.shares, self.of
        )

    def half(self, half: int) -> Kept:
        """As ``half_of`` says."""
        return self.only(half_of(self.documents.doc_ids, self.documents.langs, half))


def read_kept(
    config: Config, store: Store, most_bytes: int = MOST_BYTES
) -> tuple[WeightingSettings, Kept, dict[str, Prior]]:
    """The run's own weighting (untold), what is kept of it, and the priors to try, through the config in its folder.

    Where all would take more than ``most_bytes``, documents are drawn by a hash of their names, so that each language
    keeps its share; no more than them and one block is held at once. Raises MissingArtifact.
    """
    lineage = run_lineage(config, store)
    allocator = load_allocator(lineage.allocation.finished().child(ALLOCATOR).read)
    counts = lineage.scores(lineage.experts[0].key).finished().counts(ScoresCounts)
    # Scores and distances of every expert, and the dense model: 2 k + 1 numbers a token.
    share = min(1.0, most_bytes / (counts.tokens * (2 * len(allocator.experts) + 1) * _VALUE_BYTES))
    shares = {lang: tuple(held.tolist()) for lang, held in language_shares(lineage).items()}
    kept = joined(list(_drawn(lineage, allocator.experts, allocator.unit, shares, share)), counts.documents)
    if share < 1 and (left_out := sorted(set(shares) - set(kept.documents.langs))):
        log.warning("weights: no document of %s was drawn; these languages do not count", ", ".join(left_out))
    own = weighting_settings(lineage.config)
    if own.name == "auto" or (allocator.unit == "language" and own.name in RULES and RULES[own.name].needs.distances):
        own = WeightingSettings(**{**asdict(own), "name": "posterior"})
    return own, kept, part_priors(lineage)


def run_lineage(config: Config, store: Store) -> Lineage:
    """Of the run that the config names, from the config in its folder. Raises MissingArtifact."""
    run = store.run(config.run.name)
    if not run.exists(CONFIG):
        raise MissingArtifact(f"{run.uri} holds no run; run {EVALUATE} with its config first, or name another (--run)")
    tree = yaml.safe_load(run.read(CONFIG))
    # The store may be reached by another path than the one that the run was made under.
    tree["artifacts"] = config.artifacts.model_dump()
    return Lineage(load_config_tree(tree), store)


def _drawn(
    lineage: Lineage, experts: Sequence[str], unit: str, shares: Mapping[str, Prior], share: float
) -> Iterator[Kept]:
    """The documents drawn from each block."""
    models = {task.name: task.key for task in (*lineage.experts, *lineage.baselines)}
    stages = {name: lineage.scores(key).finished() for name, key in models.items() if name in (*experts, DENSE)}
    evaluation = lineage.store.stage("evaluation", made_stage(lineage.config, lineage.store, "evaluation"), EVALUATE)
    for number, block in enumerate(read_blocks(stages)):
        scores = np.stack([block.log_probs[name].astype(np.float64) for name in experts], axis=1)
        distances = read_array(evaluation, distances_name(number)).astype(np.float64)
        assert distances.shape == scores.shape
        dense = block.log_probs[DENSE].astype(np.float64)
        whole = Kept(block.documents, scores, distances, dense, unit, shares, len(block.documents))
        drawn = [n for n, name in enumerate(block.documents.doc_ids) if _is_drawn(name, share)]
        # `only` copies every array.
        yield whole if len(drawn) == len(block.documents) else whole.only(drawn)


def _is_drawn(name: str, share: float) -> bool:
    return share >= 1 or derive_seed(0, "weights", name) < share * _SEEDS


def joined(blocks: Sequence[Kept], of: int) -> Kept:
    """All blocks as one text. of: how many documents were scored in all."""
    documents = scored_documents(
        [name for kept in blocks for name in kept.documents.doc_ids],
        [lang for kept in blocks for lang in kept.documents.langs],
        [length for kept in blocks for length in kept.documents.length.tolist()],
        [size for kept in blocks for size in kept.documents.bytes.tolist()],
    )
    scores, distances, dense = (
        np.concatenate(arrays)
        for arrays in zip(*((kept.scores, kept.distances, kept.dense) for kept in blocks), strict=True)
    )
    return Kept(documents, scores, distances, dense, blocks[0].unit, blocks[0].shares, of)


def part_priors(lineage: Lineage) -> dict[str, Prior]:
    """Name -> prior: equal weights, and each expert's share of the text that all hold, in tokens and in documents."""
    priors: dict[str, Prior] = {"uniform": None}
    parts = read_parts(lineage.allocation.finished(), lineage.token_corpus)
    held = {
        "tokens": [sum(part.tokens.values()) for part in parts],
        "documents": documents_held(lineage.allocation.finished(), lineage.token_corpus, parts),
    }
    return priors | {name: tuple(count / sum(counts) for count in counts) for name, counts in held.items()}


def documents_held(allocation: StageFolder, corpus: TokenCorpus, parts: Sequence[Part]) -> list[int]:
    """Training documents of each expert: as assigned, or all of its languages."""
    assigned = allocation.manifest().counts.get("documents_per_expert")
    if isinstance(assigned, list):
        return [int(str(count)) for count in assigned]
    return [sum(corpus.counts.documents(lang, "train") for lang in part.tokens) for part in parts]
