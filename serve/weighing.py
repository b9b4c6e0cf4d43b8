"""Who takes part in a request and who weighs them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from app.core.errors import ServingError
from app.core.records import FloatArray
from app.core.suggest import unknown_value
from app.ensemble.requests import Weigher
from app.ensemble.routing import Alone, ContextSource, ContextState, RequestRouter, resolve_weighting
from app.ensemble.rules import RULES, rule_of
from serve.loading import MIXTURE, LoadedEnsemble
from serve.messages import Mixing


@dataclass(frozen=True)
class Plan:
    """experts: the client's that take part, with their ``names``; weigher: as in ``app.ensemble.requests.Request``.

    weighting: the rule; None for a single model. drop_below: weight below which an expert is not run, 0 for never.
    by_language: whether the weights depend on the language that was named.
    """

    experts: tuple[int, ...]
    names: tuple[str, ...]
    weigher: Callable[[Sequence[int]], Weigher]
    weighting: str | None
    drop_below: float
    by_language: bool = False


def wants_language(ensemble: LoadedEnsemble, mixing: Mixing) -> bool:
    """Whether the request names a rule that has to know the language of its text: one that looks for the nearest expert
    where experts own languages, or fixed weights that are those of a language.
    """
    rule = RULES.get(mixing.weighting or "")
    if rule is None:
        return False
    by_share = mixing.weighting == "fixed" and mixing.fixed is None and bool(ensemble.shares)
    return by_share or (rule.needs.distances and ensemble.allocator.unit == "language")


def plan_of(ensemble: LoadedEnsemble, model: str, mixing: Mixing) -> Plan:
    """mixing: its language by our code. Raises ServingError, ConfigError or AllocationError for a model or options that
    cannot be met.
    """
    if model != MIXTURE:
        place = ensemble.place(model)
        if given := [name for name, value in asdict(mixing).items() if value is not None]:
            raise ServingError(
                f"xelm.{given[0]} says how experts are mixed, but {model} is a single model; leave it out or ask for"
                f" model {MIXTURE}"
            )
        return Plan((place,), (model,), lambda _tokens: Alone(), None, 0.0)
    names = ensemble.allocator.experts if mixing.experts is None else mixing.experts
    for name in names:
        if name not in ensemble.allocator.experts:
            raise ServingError(unknown_value("xelm.experts", name, ensemble.allocator.experts))
    if len(set(names)) < len(names) or not names:
        raise ServingError(f"xelm.experts is {', '.join(names) or 'empty'}; name each expert that takes part once")
    places = tuple(ensemble.allocator.experts.index(name) for name in names)
    told = mixing.language is not None
    named = mixing.weighting or ("fixed" if mixing.fixed is not None else ensemble.weighting.name)
    # A rule that the request names is taken as it is, or refused.
    free = mixing.weighting in (None, "auto")
    settings = replace(
        ensemble.weighting,
        name=resolve_weighting(named, ensemble.allocator.unit, told) if free else named,
        temperature=ensemble.weighting.temperature if mixing.temperature is None else mixing.temperature,
        # The run's own may be more than the experts named here; one that the request gives is refused below.
        top_m=min(ensemble.weighting.top_m, len(names)) if mixing.top_m is None else mixing.top_m,
    )
    rule = rule_of(settings)
    if mixing.fixed is not None and not rule.uses_prior:
        raise ServingError(
            f"xelm.experts gives weights, but weighting {settings.name} does not look at them; use fixed or posterior"
        )
    if mixing.temperature is not None and not rule.uses_temperature:
        those = ", ".join(name for name, other in RULES.items() if other.uses_temperature)
        raise ServingError(
            f"xelm.temperature is {mixing.temperature:g}, but weighting {settings.name} does not look at it; leave it"
            f" out or choose one of {those}"
        )
    prior = _prior(ensemble, mixing, places)
    source = _Some(ensemble.allocator, places)

    def weigher(tokens: Sequence[int]) -> RequestRouter:
        # Distances are those of text, and the start token is none.
        seen = tokens[1:] if tokens and tokens[0] == ensemble.tokenizer.start_id else tokens
        text = ensemble.tokenizer.decode(tokens) if rule.needs.distances else ""
        return RequestRouter(source, settings, mixing.language, text, seen, None, prior)

    weigher([])  # what cannot be met is said before anything is computed
    dropped = settings.drop_below if settings.name == "posterior" else 0.0
    of_language = prior is not None and mixing.fixed is None and rule.uses_prior
    near = rule.needs.distances and _moves(source, mixing.language)
    return Plan(places, tuple(names), weigher, settings.name, dropped, of_language or near)


def _moves(source: ContextSource, lang: str | None) -> bool:
    """Whether distances depend on the language that was named: also an expert added to a cut of documents owns some."""
    if lang is None or source.unit == "language":
        return lang is not None
    told, untold = (source.context(named).distances() for named in (lang, None))
    return not np.array_equal(told, untold, equal_nan=True)


def _prior(ensemble: LoadedEnsemble, mixing: Mixing, places: Sequence[int]) -> FloatArray | None:
    if mixing.fixed is not None:
        return np.array(mixing.fixed)
    if mixing.language is None:
        return None
    shares = ensemble.shares.get(mixing.language)
    if shares is None:
        return None
    of_these = np.array(shares)[list(places)]
    # Where none of these experts holds the language, its shares say nothing: weights are equal then.
    return of_these if of_these.any() else None


class _Some:
    """An allocator of which only some experts take part."""

    def __init__(self, source: ContextSource, places: Sequence[int]) -> None:
        self._source, self._places = source, list(places)
        self.unit = source.unit
        self.experts = tuple(source.experts[place] for place in places)

    def context(self, lang: str | None) -> ContextState:
        """See ContextSource. Raises ServingError if none of them may answer in this language."""
        context = _SomeContext(self._source.context(lang), self._places)
        if not np.isfinite(context.distances()).any():
            raise ServingError(
                f"none of {', '.join(self.experts)} owns language {lang!r}; add its expert to xelm.experts, or choose"
                " weighting posterior"
            )
        return context


class _SomeContext:
    def __init__(self, state: ContextState, places: list[int]) -> None:
        self._state, self._places = state, places

    def extend(self, text: str, tokens: Sequence[int]) -> None:
        self._state.extend(text, tokens)

    def distances(self) -> FloatArray:
        chosen: FloatArray = self._state.distances()[self._places]
        return chosen
