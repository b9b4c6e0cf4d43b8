"""All rankings of the donors of new languages: by syntax, by the experts' surprise, by the seed's hidden states.

The last two need text of the new languages and models; a sample of it is enough, and what was measured stays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from app.adaptation.rounds import Rank, ranked_by_distance, ranked_by_expert, rankings
from app.allocation.uriel import donor_ranking
from app.artifacts.ensemble import EnsembleRecord
from app.artifacts.store import Store
from app.config.schema import Config
from app.core.errors import ConfigError, XelmError
from app.core.records import FloatArray, JsonObject
from app.corpora.layouts import LAYOUTS
from app.evaluation.systems import SEED
from app.lineage.adapted import AdaptationText, first_text, made_before, owners_of
from app.lineage.inputs import SEED as MAKE_SEED
from app.lineage.inputs import PlannedStage, planned, probe_inputs
from app.pipelines.probe import measured_languages
from app.pipelines.score import nats_per_token, score_models
from app.pipelines.shard import make_shards
from app.pipelines.tokenize import make_tokens
from app.probes.compare import probe_distances
from app.tokens.dataset import TokenCorpus

TYPOLOGY, PERPLEXITY, REPRESENTATION = "typology", "perplexity", "representation"
_PROBE = "representation"
_NOT_IN_A_DRY_RUN = "its sample has not been measured yet; jobs.adapt does so before it trains anything"


@dataclass
class Rankings:
    """by: ranking -> how it ranks; missing: ranking -> why it was not computed."""

    by: dict[str, Rank] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def table(self, groups: Sequence[Sequence[str]], known: Sequence[str]) -> dict[str, JsonObject]:
        """Ranking -> new language -> known languages with their figure, the nearest first."""
        return {
            name: {lang: [list(pair) for pair in row] for lang, row in rankings(groups, known, rank).items()}
            for name, rank in self.by.items()
        }


def made_rankings(config: Config, store: Store, record: EnsembleRecord, groups: Sequence[Sequence[str]]) -> Rankings:
    """Every ranking, measured where it is not yet. What the one that is chosen raises is raised; another that fails is
    named with why.
    """
    text = sample_text(config, store, record, groups)
    found = Rankings({TYPOLOGY: _by_syntax(config)})

    def surprise() -> Rank:
        # In here and not before: text that cannot be had is a failure of the rankings that need it, not of all.
        make_shards(text)
        make_tokens(text)
        return _by_surprise(text, record)

    def hidden() -> Rank:
        make_shards(text)
        make_tokens(text)
        return _by_hidden_states(text, record)

    for name, measure in ((PERPLEXITY, surprise), (REPRESENTATION, hidden)):
        try:
            found.by[name] = measure()
        except XelmError as error:
            if config.adaptation.ranking == name:
                raise
            found.missing[name] = str(error)
    return found


def kept_rankings(
    config: Config, store: Store, record: EnsembleRecord | None, groups: Sequence[Sequence[str]]
) -> Rankings:
    """The rankings that are known without running anything: by syntax, and what was measured before."""
    found = Rankings({TYPOLOGY: _by_syntax(config)})
    measures: Mapping[str, Callable[[AdaptationText, EnsembleRecord], Rank]] = {
        PERPLEXITY: _by_surprise,
        REPRESENTATION: _by_hidden_states,
    }
    for name, measure in measures.items():
        if record is None:
            found.missing[name] = f"run {config.run.name} has no experts yet"
        # The sample's key needs the corpus to be listed, which would ask the Hub.
        elif config.corpus.source in LAYOUTS and not config.corpus.path:
            found.missing[name] = "a dry run leaves the Hub alone"
        else:
            found.missing |= _looked_up(found, name, config, store, record, groups, measure)
    return found


def _by_syntax(config: Config) -> Rank:
    """By few features the true neighbour is found one time in six, so a donor needs as many as a cut asks for."""
    allocation = config.allocation
    return partial(donor_ranking, min_features=allocation.min_features, fallback=allocation.fallback)


def _looked_up(
    found: Rankings,
    name: str,
    config: Config,
    store: Store,
    record: EnsembleRecord,
    groups: Sequence[Sequence[str]],
    measure: Callable[[AdaptationText, EnsembleRecord], Rank],
) -> dict[str, str]:
    """Enter the ranking if all that it is made of is there; else why not."""
    try:
        text = sample_text(config, store, record, groups)
        stages = [text.scores(expert.model) for expert in record.experts]
        if name == REPRESENTATION:
            stages = [stage for stage, _, _ in _hidden_stages(text, record)]
        if not all(stage.is_complete for stage in stages):
            return {name: _NOT_IN_A_DRY_RUN}
        found.by[name] = measure(text, record)
    except XelmError as error:
        return {name: str(error)}
    return {}


def sample_text(
    config: Config, store: Store, record: EnsembleRecord, groups: Sequence[Sequence[str]]
) -> AdaptationText:
    """A sample of the new languages: ``adaptation.sample_documents`` held-out documents of each, from one file."""
    count = config.adaptation.sample_documents
    # Held-out documents are drawn by hash, so this many must be read for them; at a fraction of (nearly) 0 the
    # floor keeps that finite.
    read = round(count / max(config.corpus.validation_fraction, 0.01))
    # 0 means no limit.
    most = min(read, config.corpus.max_documents_per_file or read)
    corpus = config.corpus.model_copy(update={"max_files_per_language": 1, "max_documents_per_file": most})
    evaluation = config.evaluation.model_copy(update={"max_documents_per_language": count})
    sampled = config.model_copy(update={"corpus": corpus, "evaluation": evaluation})
    return AdaptationText(sampled, store, record, [lang for group in groups for lang in group])


def _by_surprise(text: AdaptationText, record: EnsembleRecord) -> Rank:
    """By the mean nats per token of each expert on the sample."""
    scores = score_models(text, {expert.name: text.store.stage("model", expert.model) for expert in record.experts})
    found, owners = nats_per_token(scores), owners_of(record)
    languages = next(iter(found.values()))
    ranks = {lang: ranked_by_expert({name: nats[lang] for name, nats in found.items()}, owners) for lang in languages}
    return lambda lang, known: ranks[lang](lang, known) if lang in ranks else []


def _by_hidden_states(text: AdaptationText, record: EnsembleRecord) -> Rank:
    """By the distance of the seed's mean hidden states, as the probe ``representation`` has it."""
    names: list[str] = []
    found: list[FloatArray] = []
    stages = _hidden_stages(text, record)
    seed = made_before(text.store, "model", record.models[SEED], MAKE_SEED)
    for stage, languages, tokens in stages:
        names += languages
        found += measured_languages(text.config, _PROBE, stage, languages, tokens, seed)
    return ranked_by_distance(probe_distances(_PROBE, found), names)


def _hidden_stages(
    text: AdaptationText, record: EnsembleRecord
) -> list[tuple[PlannedStage, tuple[str, ...], PlannedStage]]:
    """Of the run's languages and of the new ones: the probe's stage, its languages, their tokens.

    The first is the one that ``representation_similarity`` cuts by. Languages of later rounds have no text here.
    """
    if SEED not in record.models:
        raise ConfigError("the ensemble names no seed")
    first = first_text(text.config, text.store, text.tokenizer)
    known = TokenCorpus.open(first.tokens.folder).languages()
    made = []
    for languages, tokens in ((tuple(known), first.tokens), (tuple(text.config.corpus.languages), text.tokens)):
        parents = {"tokens": tokens.key, "seed": record.models[SEED]}
        made.append((planned(probe_inputs(text.config, _PROBE, languages, parents), text.store), languages, tokens))
    return made
