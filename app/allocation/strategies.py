"""The registry of strategies, and fitting one by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from app.allocation.base import AllocationSettings, Allocator, Evidence, Strategy, expert_names
from app.allocation.by_language import LanguageAllocator
from app.allocation.uriel import read_typology
from app.core.errors import AllocationError
from app.core.suggest import unknown_value


# Each is imported when it is wanted: --help and cuts by languages load neither torch nor scikit-learn.
def _typological(settings: AllocationSettings) -> Strategy:
    from app.allocation.typological import TypologicalStrategy

    return TypologicalStrategy(settings)


def _tfidf(settings: AllocationSettings) -> Strategy:
    from app.allocation.tfidf import TfidfStrategy

    return TfidfStrategy(settings)


def _random(settings: AllocationSettings) -> Strategy:
    from app.allocation.random_split import RandomStrategy

    return RandomStrategy(settings)


def _one_per_language(settings: AllocationSettings) -> Strategy:
    from app.allocation.one_per_language import OnePerLanguageStrategy

    return OnePerLanguageStrategy(settings)


def _anti_typological(settings: AllocationSettings) -> Strategy:
    from app.allocation.anti_typological import AntiTypologicalStrategy

    return AntiTypologicalStrategy(settings)


def _probed(settings: AllocationSettings) -> Strategy:
    from app.allocation.probed import ProbedStrategy

    return ProbedStrategy(settings)


STRATEGIES: Mapping[str, Callable[[AllocationSettings], Strategy]] = {
    "typological": _typological,
    "tfidf": _tfidf,
    "random": _random,
    "one_per_language": _one_per_language,
    "anti_typological": _anti_typological,
    "parameter_deviation": _probed,
    "gradient_similarity": _probed,
    "representation_similarity": _probed,
    "transfer": _probed,
}


def build_strategy(settings: AllocationSettings) -> Strategy:
    """The strategy of this name. Raises AllocationError naming the nearest one if it is unknown."""
    if settings.strategy not in STRATEGIES:
        raise AllocationError(unknown_value("allocation strategy", settings.strategy, STRATEGIES))
    return STRATEGIES[settings.strategy](settings)


def is_language_strategy(name: str) -> bool:
    """Whether the strategy gives whole languages to experts. Raises AllocationError if it is unknown."""
    return build_strategy(AllocationSettings(strategy=name)).unit == "language"


def fit_allocation(
    settings: AllocationSettings, evidence: Evidence, k: int, seed: int, languages: Sequence[str]
) -> Allocator:
    """Fit the strategy of the settings; a typology that it needs and that is not given is read from URIEL.

    languages: our codes, in the order in which experts shall name them. Raises AllocationError.
    """
    strategy = build_strategy(settings)
    # A language that is named twice would be at distance 0 of itself and fill a cluster alone.
    distinct = tuple(dict.fromkeys(languages))
    evidence = replace(evidence, languages=distinct)
    if k == 1 and distinct and "typology" in strategy.needs:
        # Nothing is to be decided, so nothing needs to be known of the languages.
        return LanguageAllocator(expert_names(1), (distinct,), settings.fallback)
    if "typology" in strategy.needs and evidence.typology is None:
        evidence = replace(evidence, typology=read_typology(distinct, settings.min_features, settings.fallback))
    missing = sorted(strategy.needs - _present(evidence))
    if missing:
        raise AllocationError(
            f"allocation.strategy={settings.strategy} needs {', '.join(missing)}, and there are none; "
            "check corpus.languages and that the corpus holds text"
        )
    return strategy.fit(evidence, k, seed)


def _present(evidence: Evidence) -> set[str]:
    present = {f"probe:{name}" for name in evidence.probes}
    if evidence.documents is not None:
        present |= {"documents"} if evidence.documents.texts else set()
        present |= {"tokens"} if evidence.documents.tokens else set()
    if evidence.typology is not None and evidence.typology.languages:
        present.add("typology")
    if evidence.languages:
        present.add("languages")
    return present
