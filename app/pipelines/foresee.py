"""What a round of new languages would do: donors by every ranking that is known, the family tree, tokens, FLOPs, time.

Nothing is started, and no corpus is needed for the ranking by syntax.
"""

from __future__ import annotations

from collections.abc import Sequence

from app.adaptation.rounds import family_tree, parse_groups, plan_rounds, tree_text
from app.allocation.base import expert_names
from app.artifacts.ensemble import EnsembleRecord, names_given, read_ensemble
from app.artifacts.layout import CURRENT_ENSEMBLE
from app.artifacts.store import Store
from app.config.schema import Config
from app.core.errors import ConfigError
from app.core.records import JsonObject
from app.lineage.adapted import ancestors, owners_of
from app.lineage.inputs import EVALUATE
from app.lineage.runs import unlike_the_run
from app.pipelines.donors import TYPOLOGY, kept_rankings
from app.planning.forecast import forecast_clusters
from app.planning.rounds import forecast_round
from app.reporting.rounds import forecast_text, rankings_text


def asked_groups(config: Config) -> list[tuple[str, ...]]:
    """The new languages, in groups that share an expert. Raises ConfigError if none are named."""
    if not config.adaptation.languages:
        raise ConfigError("adaptation.languages is empty; name the new languages: --languages az,he")
    return parse_groups(config.adaptation.languages)


def missing_groups(record: EnsembleRecord, groups: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Those that no added expert holds whole: the same command goes on after any interruption."""
    later = {lang for expert in record.experts if expert.round for lang in expert.languages}
    return [group for group in groups if not set(group) <= later]


def last_round(nodes: Sequence[JsonObject]) -> int:
    """Of the experts of a family tree."""
    return max(int(str(node["round"])) for node in nodes)


def foresee_adaptation(config: Config, store: Store) -> JsonObject:
    """``donors``, ``rankings``, ``not_computed``, ``family_tree``, ``forecast`` and ``unlike_the_run``; needs no
    corpus, and a run only where the cut is by documents.

    ``donors_by`` is the ranking that the donors stand for: the one that the config chooses, or typology while that one
    is not computed.
    """
    groups, run = asked_groups(config), store.run(config.run.name)
    record = read_ensemble(run, "") if run.exists(CURRENT_ENSEMBLE) else None
    owners, first = _first_experts(config) if record is None else (owners_of(record), ancestors(record))
    if record is not None:
        groups = missing_groups(record, groups)
    found = kept_rankings(config, store, record, groups)
    # A dry run measures nothing, so the chosen ranking may be unknown; the one by syntax always is there.
    by = config.adaptation.ranking if config.adaptation.ranking in found.by else TYPOLOGY
    taken = [str(node["expert"]) for node in first] if record is None else names_given(run)
    added = plan_rounds(owners, taken, groups, last_round(first), config.adaptation.in_turn, found.by[by])
    tree, ranked = family_tree(first, added), found.table(groups, sorted(owners))
    unlike = unlike_the_run(config, run)
    # A new expert's budget is that of one of the first: those of later rounds do not count.
    count = sum(node["round"] == 0 for node in first)
    forecast = forecast_round(config, store, added, count, record)
    return {
        "donors": {lang: new.donor for new in added for lang in new.languages},
        "donors_by": by,
        "rankings": dict(ranked),
        "not_computed": dict(found.missing),
        "family_tree": list(tree),
        "forecast": forecast,
        "unlike_the_run": list(unlike),
        "text": "\n\n".join(
            [tree_text(tree), rankings_text(ranked, found.missing, by), forecast_text(forecast), *unlike]
        ),
    }


def _first_experts(config: Config) -> tuple[dict[str, str], list[JsonObject]]:
    """Language -> expert, and the family so far, of a run that is yet to be made."""
    clusters = forecast_clusters(config)
    if not clusters:
        raise ConfigError(f"whose languages are whose is known once the run is finished: run {EVALUATE} first")
    named = list(zip(expert_names(len(clusters)), clusters, strict=True))
    owners = {lang: name for name, cluster in named for lang in cluster}
    return owners, [
        {"expert": name, "languages": list(cluster), "parent": "seed", "round": 0} for name, cluster in named
    ]
