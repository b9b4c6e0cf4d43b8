"""How the corpus was cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.core.languages import display_name
from app.core.records import JsonObject
from app.core.units import format_count
from app.reporting.cells import Cell, Picture, Section, Table, language_cell, mapping, number, sequence
from app.reporting.plots import composition_bars, dendrogram

_TRAINED_ON = (
    "Held: the expert's share of the corpus. Trained on: the tokens that it has seen, drawn from its share by the"
    " mixture of languages, some of them several times. A language has one colour, and the order is the tables'."
)
_AGREEMENT = {"owner_agreement": "owner found", "owner_agreement_early": "after 32 tokens"}


def allocation_section(allocation: JsonObject, tokens: JsonObject, models: Mapping[str, JsonObject]) -> Section | None:
    """Who holds what: languages of each expert or documents of each language and expert; what it holds and what it was
    trained on (``exposure_tokens`` in models) drawn side by side as bars.
    """
    experts = [str(name) for name in sequence(allocation.get("experts"))]
    clusters, documents = sequence(allocation.get("clusters")), mapping(allocation.get("documents"))
    if clusters:
        names = [", ".join(f"{display_name(lang)} ({lang})" for lang in cluster) for cluster in clusters]
        rows = [[Cell(name), Cell(text, "text")] for name, text in zip(experts, names, strict=True)]
        held = [{lang: _training_tokens(tokens, lang) for lang in cluster} for cluster in clusters]
        table = Table(["expert", "languages"], rows)
        pictures = [
            _bars(
                experts,
                held,
                "training tokens that it holds",
                models,
                sorted({lang for cluster in clusters for lang in cluster}),
            )
        ]
        return Section("Allocation: languages of each expert", [table], [_TRAINED_ON], pictures)
    if not documents:
        return None
    agreement = [(name, mapping(allocation.get(key))) for key, name in _AGREEMENT.items() if allocation.get(key)]
    rows = [
        [
            language_cell(lang),
            *(Cell(format_count(n), "" if n else "soft") for n in counts),
            *(_share_cell(number(shares.get(lang))) for _, shares in agreement),
        ]
        for lang, counts in documents.items()
    ]
    totals = sequence(allocation.get("documents_per_expert"))
    rows.append([Cell("all", "best"), *(Cell(format_count(n), "best") for n in totals), *(Cell("") for _ in agreement)])
    ratio = allocation.get("max_over_mean")
    notes = [f"Largest part over the mean part: {float(str(ratio)):.3f}."] if ratio is not None else []
    if agreement:
        notes.append(
            "Owner found: share of held-out documents that are nearest to the expert that holds most of their language."
        )
    notes.append(_TRAINED_ON)
    held = [{lang: counts[place] for lang, counts in documents.items()} for place in range(len(experts))]
    bars = _bars(experts, held, "training documents that it holds", models, list(documents))
    return Section(
        "Allocation: training documents of each expert",
        [Table(["language", *experts, *(name for name, _ in agreement)], rows)],
        notes,
        [bars],
    )


def tree_section(merges: Sequence[JsonObject], k: int, features: Mapping[str, int]) -> Section | None:
    """The typological tree, cut at k. merges: ``left`` and ``right`` languages and ``distance``, first merge first;
    features: known syntax features of each language.
    """
    if not merges:
        return None
    described = [([*merge["left"]], [*merge["right"]], float(merge["distance"])) for merge in map(mapping, merges)]
    # The last merge holds all, each side in the order of its own merges: so no branches cross.
    languages = max((left + right for left, right, _ in described), key=len)
    picture = Picture(
        dendrogram({lang: _leaf(lang, features) for lang in languages}, described, k),
        f"Dendrogram of {len(languages)} languages, cut into {k} clusters",
    )
    notes = [
        "Two clusters are joined at their typological distance (URIEL syntax), which is written there; where it is"
        " smaller than one below, just beyond that one. The number beside a language counts the features that are known"
        " of it: the fewer, the less its place means. Blue branches are within one expert, grey ones join experts;"
        " where a line can part them, it is dashed."
    ]
    return Section("Typological tree", notes=notes, pictures=[picture])


def _leaf(lang: str, features: Mapping[str, int]) -> str:
    known = f" · {features[lang]}" if lang in features else ""
    return f"{display_name(lang)} ({lang}){known}"


def terms_section(terms: JsonObject) -> Section | None:
    """What tells the TF-IDF clusters apart. terms: expert -> its terms, strongest first."""
    rows = [
        [Cell(expert), Cell(terms=tuple(str(term) for term in sequence(found)), kind="text")]
        for expert, found in terms.items()
    ]
    if not rows:
        return None
    notes = ["The terms that draw a text to a cluster most, over the sample; a dot stands for white space."]
    return Section("Top terms of each cluster", [Table(["expert", "terms"], rows)], notes)


def _share_cell(share: float | None) -> Cell:
    return Cell("" if share is None else f"{share:.1%}")


def _bars(
    experts: Sequence[str],
    held: Sequence[Mapping[str, float]],
    what: str,
    models: Mapping[str, JsonObject],
    languages: Sequence[str],
) -> Picture:
    panels = {what: held}
    seen = [mapping(mapping(models.get(name)).get("exposure_tokens")) for name in experts]
    # While some experts are not trained yet a picture of the others would look like the whole.
    if all(seen):
        panels["tokens that it was trained on"] = seen
    return Picture(composition_bars(experts, panels, languages), f"Share of the languages in {' and '.join(panels)}")


def _training_tokens(tokens: JsonObject, lang: str) -> float:
    return number(mapping(tokens.get(f"{lang}/train")).get("tokens")) or 0.0
