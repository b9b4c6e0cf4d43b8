"""Which expert a new language branches from (HMR, arXiv 2401.10440): donors, parents and rounds. Nothing runs here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from app.allocation.uriel import donor_ranking
from app.core.errors import AllocationError
from app.core.languages import normalise
from app.core.records import FloatArray, JsonObject

Rank = Callable[[str, Sequence[str]], Sequence[tuple[str, float]]]
"""(new language, candidates) -> candidates with their distance, the nearest first."""

_NUMBERED = re.compile(r"expert-(\d+)")


@dataclass(frozen=True)
class NewExpert:
    """An expert to be: its own languages, the donor language, the expert that it branches from, and the round."""

    name: str
    languages: tuple[str, ...]
    donor: str
    parent: str
    round: int


def parse_groups(names: Sequence[str]) -> list[tuple[str, ...]]:
    """``kk+az`` is one group of two. Raises CorpusError for an unknown language."""
    return [tuple(normalise(code) for code in name.split("+")) for name in names]


def plan_rounds(
    owners: Mapping[str, str],
    experts: Sequence[str],
    groups: Sequence[Sequence[str]],
    last_round: int,
    in_turn: bool = False,
    rank: Rank = donor_ranking,
) -> list[NewExpert]:
    """The experts of the next round or rounds, in order.

    owners: language -> the expert that holds it. experts: all names that are taken. last_round: of the ensemble so far.
    in_turn: a round for each group, which may branch from the groups before. The donor of a group is the language
    nearest to any of its own. Raises AllocationError as ``require_new`` does, and for a language that nobody can be a
    donor of.
    """
    require_new(owners, groups)
    held, taken = dict(owners), list(experts)
    planned: list[NewExpert] = []
    for number, group in enumerate(groups):
        # Of equal distances the one that its ranking has first: languages of one expert have the same surprise.
        ranked = sorted(
            (distance, place, lang) for new in group for place, (lang, distance) in enumerate(rank(new, sorted(held)))
        )
        if not ranked:
            raise AllocationError(
                f"no donor is known for {'+'.join(group)}: fewer of its syntax features are known than"
                " allocation.min_features asks for; set allocation.fallback=family, or adaptation.ranking=perplexity or"
                " representation"
            )
        donor = ranked[0][2]
        turn = last_round + 1 + (number if in_turn else 0)
        expert = NewExpert(_free_name(taken), tuple(group), donor, held[donor], turn)
        planned.append(expert)
        taken.append(expert.name)
        if in_turn:
            held |= dict.fromkeys(group, expert.name)
    return planned


def require_new(owners: Mapping[str, str], groups: Sequence[Sequence[str]]) -> None:
    """Raises AllocationError for a language that an expert holds already, or that is given twice."""
    held = dict(owners)
    for lang in (lang for group in groups for lang in group):
        if lang in held:
            raise AllocationError(f"language {lang!r} belongs to {held[lang]} already; give only new languages")
        # Entered at once, so that a language that two groups name is refused too.
        held[lang] = "an expert of the same round"


def rankings(
    groups: Sequence[Sequence[str]], known: Sequence[str], rank: Rank = donor_ranking
) -> dict[str, list[tuple[str, float]]]:
    """New language -> known languages with their distance, the nearest first."""
    return {lang: list(rank(lang, sorted(known))) for group in groups for lang in group}


def ranked_by_expert(surprise: Mapping[str, float], owners: Mapping[str, str], typology: Rank = donor_ranking) -> Rank:
    """A ranking that takes the languages of the least surprised expert first, the nearest by typology before others.

    surprise: expert -> mean nats per token of the new language's sample; for one new language.
    """

    def rank(lang: str, candidates: Sequence[str]) -> list[tuple[str, float]]:
        # Languages without syntax features are not in that ranking; they come after those that are.
        near = {code: place for place, (code, _) in enumerate(typology(lang, candidates))}
        # The code comes last, so that equal figures are ranked alike in every run.
        order = sorted(candidates, key=lambda code: (surprise[owners[code]], near.get(code, len(near)), code))
        return [(code, surprise[owners[code]]) for code in order]

    return rank


def ranked_by_distance(distances: FloatArray, languages: Sequence[str]) -> Rank:
    """By a table of distances. distances: (n, n) of ``languages``; candidates that are not in it are left out."""
    place = {lang: row for row, lang in enumerate(languages)}

    def rank(lang: str, candidates: Sequence[str]) -> list[tuple[str, float]]:
        known = [code for code in candidates if code in place and code != lang] if lang in place else []
        found = [(code, float(distances[place[lang], place[code]])) for code in known]
        return sorted(found, key=lambda pair: (pair[1], pair[0]))

    return rank


def family_tree(ancestors: Sequence[JsonObject], added: Sequence[NewExpert]) -> list[JsonObject]:
    """Every expert after its parent: ``expert``, ``languages``, ``parent`` (``seed`` for the first ones), ``round``,
    and ``donor`` of those that are added. ancestors: the experts that there are, in the same form.
    """
    return [*ancestors, *({"expert": new.name, **_facts(new)} for new in added)]


def _facts(new: NewExpert) -> JsonObject:
    return {"languages": list(new.languages), "donor": new.donor, "parent": new.parent, "round": new.round}


def tree_text(tree: Sequence[JsonObject]) -> str:
    """The tree as indented lines, each expert below the one that it branched from."""
    lines: list[str] = ["seed"]

    def below(parent: str, depth: int) -> None:
        for node in tree:
            if node["parent"] == parent:
                languages = node["languages"]
                assert isinstance(languages, list)
                donor = f", donor {node['donor']}" if "donor" in node else ""
                lines.append(f"{'  ' * depth}{node['expert']}: {', '.join(map(str, languages))}{donor}")
                below(str(node["expert"]), depth + 1)

    below("seed", 1)
    return "\n".join(lines)


def _free_name(taken: Sequence[str]) -> str:
    # Not the count: after a removal there is a gap, and the count may be a name that is taken.
    numbers = [int(found[1]) for name in taken if (found := _NUMBERED.fullmatch(name))]
    return f"expert-{max(numbers, default=-1) + 1:02d}"
