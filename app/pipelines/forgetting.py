"""What a round of adaptation gave the new languages and took from the old ones: HMR beside LAPT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from app.artifacts.digests import weights_digest
from app.artifacts.ensemble import EnsembleRecord, ExpertRecord
from app.artifacts.layout import FINAL_MODEL
from app.artifacts.store import StageFolder
from app.core.records import FloatArray, JsonObject
from app.core.typed import from_json
from app.ensemble.rules import WeightingSettings
from app.evaluation.scores import CELLS_AT_ONCE, ScoredDocuments, read_blocks
from app.evaluation.systems import DENSE, SEED, ExpertEvidence, System, use_experts
from app.evaluation.totals import Totals
from app.evaluation.win_rate import compare, headline
from app.lineage.adapted import AdaptationText, ScoredText, first_text, owners_of
from app.pipelines.score import Scorable, score_models
from app.pipelines.shard import make_shards
from app.pipelines.tokenize import make_tokens
from app.reporting.tables import mean_change_text, text_table

BEFORE, AFTER, BEFORE_TOLD, AFTER_TOLD = "before", "after", "before_told", "after_told"


def forgetting_report(
    text: AdaptationText, before: EnsembleRecord, after: EnsembleRecord, lapt: Mapping[str, StageFolder]
) -> JsonObject:
    """Old and new languages under the ensemble before and after the round, told the language or not, dense, and LAPT.

    text: that of the round. Untold, both ensembles are the running posterior from equal weights. ``old`` and ``new``,
    and ``earlier`` for the languages of earlier rounds, where there are any: ``systems`` (mean log ratio to dense, and
    ``against`` the ensemble before), ``per_language``, and ``alone`` (language -> perplexity of the seed and of each
    expert by itself); ``models``: key of the seed and of each expert; ``unchanged``: the weights of the old experts,
    read again, have the digests that were recorded; ``text``: the same for people.
    """
    config, store = text.config, text.store
    models = {name: store.stage("model", key) for name, key in after.models.items() if name in (DENSE, SEED)}
    models |= {expert.name: store.stage("model", expert.model) for expert in after.experts} | dict(lapt)
    # The old languages' own held-out text, in the tokens of the run: scores that the evaluation made are found.
    first = first_text(config, store, text.tokenizer)
    new = [lang for expert in after.experts[len(before.experts) :] for lang in expert.languages]
    parts = {
        "old": _compared(first, models, before, after, sorted(lapt)),
        "new": _compared(
            ScoredText(config, store, text.tokens, text.tokenizer), models, before, after, sorted(lapt), new
        ),
    }
    if later := sorted({lang for expert in before.experts if expert.round for lang in expert.languages}):
        # Their text is of no evaluation, and the round's own holds those alone that are donors.
        theirs = AdaptationText(config, store, before, later)
        make_shards(theirs)
        make_tokens(theirs)
        scored = ScoredText(config, store, theirs.tokens, theirs.tokenizer)
        parts["earlier"] = _compared(scored, models, before, after, sorted(lapt))
    unchanged = weights_are_as_recorded(models, before.experts)
    keys: JsonObject = {name: model.key for name, model in models.items() if name not in lapt}
    return {**parts, "models": keys, "unchanged": unchanged, "text": report_text(parts, unchanged)}


def weights_are_as_recorded(models: Mapping[str, StageFolder], experts: Sequence[ExpertRecord]) -> bool:
    """Whether the weights of each expert, read from the store now, have the digest in its record. models: by name."""
    # Not by `local`: this machine's copy would be read, and all experts would be copied here.
    return all(weights_digest(models[expert.name].child(FINAL_MODEL)) == expert.weights_sha256 for expert in experts)


def _compared(
    text: Scorable,
    models: Mapping[str, StageFolder],
    before: EnsembleRecord,
    after: EnsembleRecord,
    lapt: Sequence[str],
    only: Sequence[str] = (),
) -> JsonObject:
    """only: the languages that count; empty: all of the text."""
    alone = [SEED, *(expert.name for expert in after.experts)]
    scores, totals, of_models = score_models(text, models), Totals(), Totals()
    names = [name for name in alone if name in scores]
    for block in read_blocks(scores):
        for documents, part in block.documents.pieces(max(1, CELLS_AT_ONCE // len(after.experts))):
            tokens = {name: values[part].astype(np.float64) for name, values in block.log_probs.items()}
            totals.add_tokens(documents, _systems(documents, tokens, before, after, lapt, new=bool(only)))
            of_models.add_tokens(documents, {name: tokens[name] for name in names})
    found = {
        name: {lang: of for lang, of in by_language.items() if not only or lang in only}
        for name, by_language in totals.by_system().items()
    }
    config = text.config
    baselines = (DENSE, SEED, BEFORE, *((BEFORE_TOLD,) if not only else ()))
    comparison = compare(found, {}, config.evaluation.bootstrap_samples, config.run.seed, baselines)
    shown = [name for name in found if name not in (DENSE, SEED)]
    by_model = of_models.by_system()
    return {
        "systems": {name: headline(comparison, name) for name in shown},
        "per_language": dict(comparison.table),
        "alone": {lang: {name: by_model[name][lang].perplexity for name in names} for lang in comparison.table},
    }


def _systems(
    documents: ScoredDocuments,
    tokens: Mapping[str, FloatArray],
    before: EnsembleRecord,
    after: EnsembleRecord,
    lapt: Sequence[str],
    new: bool,
) -> dict[str, FloatArray]:
    """What is compared -> (tokens,) nats. new: of the new languages alone."""
    systems = {name: tokens[name] for name in (DENSE, SEED) if name in tokens}
    systems |= _own_lapt(documents, tokens, after, lapt) if new else {name: tokens[name] for name in lapt}
    systems[BEFORE], systems[AFTER] = (_untold(documents, tokens, record) for record in (before, after))
    systems[AFTER_TOLD] = _told(documents, tokens, after)
    # The version before holds no new language, so it cannot be told one.
    if not new:
        systems[BEFORE_TOLD] = _told(documents, tokens, before)
    return systems


def _own_lapt(
    documents: ScoredDocuments, tokens: Mapping[str, FloatArray], record: EnsembleRecord, lapt: Sequence[str]
) -> dict[str, FloatArray]:
    """(tokens,) nats of each document's own LAPT model, by its budget; the first one's where it has none of its own."""
    of_language = {lang: "_".join(expert.languages) for expert in record.experts for lang in expert.languages}
    found = {}
    for budget in sorted({name.rpartition("_")[2] for name in lapt}):
        names = [f"lapt_{of_language.get(lang, '')}_{budget}" for lang in documents.langs]
        first = next(name for name in lapt if name.endswith(f"_{budget}"))
        # The new text has the donors' documents too, which have no LAPT; they are left out of the table afterwards.
        parts = [tokens[name if name in lapt else first][documents.tokens(n)] for n, name in enumerate(names)]
        found[f"lapt_{budget}"] = np.concatenate(parts)
    return found


def _untold(documents: ScoredDocuments, tokens: Mapping[str, FloatArray], record: EnsembleRecord) -> FloatArray:
    """(tokens,) nats of the running posterior over a version's experts, with the run's own numbers."""
    names = [expert.name for expert in record.experts]
    scores = np.stack([tokens[name] for name in names], axis=1)
    # The posterior looks at no distances, and without shares it starts from equal weights.
    evidence = ExpertEvidence(scores, np.ones_like(scores), {}, "document")
    mixing = from_json(WeightingSettings, record.mixing, f"the ensemble of run {record.run}: mixing")
    system = System("posterior", "mixture", told=False, weighting=replace(mixing, name="posterior"))
    return use_experts(system, documents, evidence).log_probs


def _told(documents: ScoredDocuments, tokens: Mapping[str, FloatArray], record: EnsembleRecord) -> FloatArray:
    """(tokens,) nats of the expert that holds most of each document's language."""
    owners = owners_of(record)
    parts = []
    for document, lang in enumerate(documents.langs):
        name = owners.get(lang, record.experts[0].name)
        parts.append(tokens[name][documents.tokens(document)])
    return np.concatenate(parts)


def report_text(parts: Mapping[str, JsonObject], unchanged: bool) -> str:
    """Both tables for a terminal: change against dense, and against the ensemble before the round."""
    lines = []
    titles = {"new": "new languages", "old": "old languages", "earlier": "languages of earlier rounds"}
    for part, title in titles.items():
        if part not in parts:
            continue
        systems = parts[part]["systems"]
        assert isinstance(systems, dict)
        rows = []
        for name, figures in systems.items():
            against = figures["against"]
            base = BEFORE_TOLD if name == AFTER_TOLD and BEFORE_TOLD in against else BEFORE
            since = mean_change_text(against[base]) if base in against else "–"
            rows.append([name, mean_change_text(figures), since])
        lines.append(f"{title}\n" + text_table(["system", "against dense", "against the ensemble before"], rows))
    kept = "are untouched, by their digests" if unchanged else "HAVE CHANGED: their digests differ"
    return "\n\n".join([*lines, f"the experts that there were {kept}"])
