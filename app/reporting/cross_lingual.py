"""What experts do to languages that they never saw, in which language models write, and what each system takes."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from app.core.records import JsonObject
from app.core.units import format_bytes
from app.evaluation.confusion import Confusion, mean_shares
from app.reporting.cells import Cell, Section, Table, language_cell, mapping, number, sequence, shown
from app.reporting.tables import change_of_log, mean_change_text, text_table

_TITLES = {
    "unseen": "languages never seen",
    "together": "similar languages together against apart",
    "rounds": "what rounds of new languages carry over",
    "confusion": "language of what is written",
    "costs": "what it takes",
}
_SYSTEMS = {
    "held_out": "the documents themselves",
    "seed": "seed",
    "dense": "dense",
    "expert": "the language's expert",
    "ensemble": "ensemble",
}
_SHARES = {"outputs": "outputs", "lines": "lines", "words": "words", "lpr": "LPR", "wpr": "WPR"}
_UNSEEN = (
    "Change of perplexity against the seed, which saw every language: below 0, training on other languages helped."
    " Beside an expert the language that it trained on which is nearest by typology, and how far that is."
)
_TOGETHER = (
    "This run's ensemble, told the language, against that of a run with the same text, seed, budget and k but another"
    " cut. Company: mean distance by typology of a language to those that share its expert, here and there. Correlation"
    " over languages of how much farther the company is here with how much higher the perplexity is: positive where"
    " nearer company is better."
)
_ROUNDS = (
    "Changes of perplexity. Known before: the parent against the seed in the new languages; then the new expert against"
    " its parent in the new languages, in the donor's, in the four languages nearest to the new ones and in all others,"
    " none of which it was trained on. Experts alone, not the ensemble, which keeps its old experts for old languages."
)
_CONFUSION = (
    "Each system goes on from beginnings of held-out documents, no language named. Share of outputs, of lines and of"
    " words that lingua takes for that language, among those of the run; mean over languages. LPR: outputs without a"
    " line in another language; WPR: those of them without a word of more than three small Latin letters, in languages"
    " of other scripts. Lines and outputs of fewer than five letters are not judged. What is missing in the"
    " documents themselves is the identifier's error."
)
_COSTS = (
    "Storage: final weights with their tokenizer and card. Memory: weights in float32 that are held to answer. Time of"
    " a token: scored, as recorded when held-out text was scored, the ensemble as the sum of its experts; written,"
    " {texts} texts at once in one process, median over languages. Times of a shared machine are no benchmark."
)


def cross_lingual_section(answers: JsonObject) -> Section | None:
    """answers: ``evaluation/cross_lingual.json``; a question without an answer says what is missing."""
    if not answers:
        return None
    tables, notes = _tables(answers)
    return Section("Across languages", tables, notes)


def cross_lingual_text(answers: JsonObject) -> str:
    """The same for a terminal."""
    tables, notes = _tables(answers)
    parts = [
        f"{table.caption}\n" + text_table(table.header, [[cell.text for cell in row] for row in table.rows])
        for table in tables
    ]
    return "\n\n".join([*parts, *notes])


def _tables(answers: JsonObject) -> tuple[list[Table], list[str]]:
    tables, notes = [], []
    if unseen := mapping(answers.get("unseen")):
        tables.append(_unseen(unseen))
        notes += [_nearness_text(unseen), _UNSEEN]
    if together := mapping(answers.get("together")):
        tables.append(_together([mapping(row) for row in sequence(together["cuts"])]))
        notes.append(_TOGETHER)
    if rounds := mapping(answers.get("rounds")):
        tables.append(_rounds([mapping(row) for row in sequence(rounds["rows"])]))
        correlation = shown(rounds["correlation"], "{:+.2f}".format)
        told = (
            f"Over {rounds['rounds']} rounds, rank correlation of a language's distance to the new one with its change"
        )
        notes.append(
            f"{told}: {correlation} over {rounds['cases']} pairs; positive: nearer ones fare better. {_ROUNDS}"
        )
    if confusion := mapping(answers.get("confusion")):
        counts = _counts(mapping(confusion["systems"]))
        if any(counts.values()):
            tables += [_shares(counts), _by_language(counts)]
            notes.append(_CONFUSION)
        if unknown := sequence(confusion["unknown"]):
            notes.append(f"Not known to lingua, and judged nowhere: {', '.join(map(str, unknown))}.")
    if costs := mapping(answers.get("costs")):
        tables.append(_costs([mapping(row) for row in sequence(costs["systems"])]))
        notes.append(_COSTS.format(texts=costs["texts"]))
    missing = mapping(answers.get("missing"))
    return tables, [*notes, *(f"Not answered, {_TITLES[name]}: {why}" for name, why in missing.items())]


def _unseen(found: Mapping[str, Any]) -> Table:
    """A row for each language: its own expert, and of those that never saw it the nearest and the farthest."""
    by_language: dict[str, list[dict[str, Any]]] = {}
    for row in map(mapping, sequence(found["rows"])):
        by_language.setdefault(str(row["lang"]), []).append(row)
    own, sink = mapping(found["own"]), io.StringIO()
    saved = csv.writer(sink, lineterminator="\n")
    columns = ("lang", "expert", "nearest", "distance", "log_ratio", "bits", "seed_bits")
    saved.writerow(columns)
    rows = []
    for lang, others in by_language.items():
        saved.writerows([row[column] for column in columns] for row in others)
        own_change = shown(own.get(lang), change_of_log)
        # Rows of a language stand from the nearest expert to the farthest.
        rows.append([language_cell(lang), Cell(own_change), *_foreign(others[0]), *_foreign(others[-1])])
    header = ["language", "its expert", "nearest other", "change", "farthest other", "change"]
    return Table(header, rows, "Experts on languages that they never saw", csv=sink.getvalue())


def _foreign(row: Mapping[str, Any]) -> list[Cell]:
    where = f"{row['expert']} ({row['nearest']}, {row['distance']:.2f})"
    return [Cell(where, "text"), Cell(change_of_log(row["log_ratio"]))]


def _nearness_text(found: Mapping[str, Any]) -> str:
    correlation = shown(found["correlation"], "{:+.2f}".format)
    near, far = (shown(found[name], change_of_log) for name in ("nearest", "farthest"))
    text = (
        f"Of the experts that never saw a language, the one nearest to it has a lower perplexity than the farthest in"
        f" {found['nearest_wins']} of {found['languages']} languages (mean change against the seed {near} and {far})."
        f" Rank correlation of distance and change, each language's mean taken away: {correlation} over"
        f" {found['cases']} pairs; positive: nearer experts do better. Pairs are not independent."
    )
    left = ", ".join(map(str, sequence(found["undescribed"])))
    return f"{text} Too few features are known of {left}." if left else text


def _together(cuts: Sequence[Mapping[str, Any]]) -> Table:
    """A row for each other cut; the languages of all of them as CSV."""
    sink, rows = io.StringIO(), []
    saved = csv.writer(sink, lineterminator="\n")
    columns = ("lang", "company", "other_company", "log_ratio")
    saved.writerow(["run", *columns])
    for cut in cuts:
        saved.writerows([cut["run"], *(row[column] for column in columns)] for row in sequence(cut["rows"]))
        company = " / ".join(shown(cut[name], "{:.2f}".format) for name in ("company", "other_company"))
        rows.append(
            [
                Cell(f"{cut['run']} ({cut['cut']})", "text"),
                Cell(company),
                Cell(mean_change_text(cut)),
                Cell(f"{cut['wins']} of {len(sequence(cut['rows']))}"),
                Cell(f"{cut['clear_wins']} / {cut['clear_losses']}"),
                Cell(shown(cut["correlation"], "{:+.2f}".format)),
            ]
        )
    header = ["other run", "company here / there", "mean change", "wins", "clear wins / losses", "correlation"]
    return Table(header, rows, "Similar languages together against apart", csv=sink.getvalue())


def _rounds(added: Sequence[Mapping[str, Any]]) -> Table:
    """A row for each added expert."""
    figures = ("before", "own", "donor", "relatives", "others")
    rows = [
        [
            Cell(f"{row['round']}: {row['expert']} ({', '.join(row['languages'])})", "text"),
            Cell(f"{row['donor_language']} ({row['parent']})", "text"),
            *(Cell(shown(row[name], change_of_log)) for name in figures),
        ]
        for row in added
    ]
    header = ["round", "donor", "known before", "new", "donor's", "nearest four", "others"]
    return Table(header, rows, "What rounds of new languages carry over")


def _counts(systems: Mapping[str, Any]) -> dict[str, dict[str, Confusion]]:
    """System -> language -> counts, of languages that were judged."""
    names = set(Confusion.__dataclass_fields__)
    found = {}
    for system, row in systems.items():
        # Beside the counts a cell has tokens and seconds; where lingua does not know the language, these alone.
        cells = {lang: {name: n for name, n in mapping(cell).items() if name in names} for lang, cell in row.items()}
        found[system] = {lang: Confusion(**cell) for lang, cell in cells.items() if cell}
    return found


def _shares(counts: Mapping[str, Mapping[str, Confusion]]) -> Table:
    rows = []
    for system, by_language in counts.items():
        means = mean_shares(by_language)
        rows.append([Cell(_SYSTEMS[system], "text"), *(Cell(_percent(means[name])) for name in _SHARES)])
    return Table(["written by", *_SHARES.values()], rows, "In the language asked for")


def _by_language(counts: Mapping[str, Mapping[str, Confusion]]) -> Table:
    """Line pass rate of each language."""
    languages = list(next(iter(counts.values()), {}))
    rows = [
        [language_cell(lang), *(Cell(_percent(row[lang].shares["lpr"])) for row in counts.values())]
        for lang in languages
    ]
    return Table(["language", *(_SYSTEMS[system] for system in counts)], rows, "Line pass rate by language")


def _costs(systems: Sequence[Mapping[str, Any]]) -> Table:
    rows = [
        [
            Cell(str(row["name"]) if row["name"] != "expert" else "an expert", "text"),
            Cell(str(row["models"])),
            Cell(f"{row['passes']:.2f}"),
            Cell(format_bytes(row["stored"])),
            Cell(format_bytes(row["memory"])),
            Cell(shown(row["scoring"], _microseconds)),
            Cell(shown(row["writing"], _microseconds)),
        ]
        for row in systems
    ]
    header = ["system", "models", "passes a token", "storage", "memory", "µs a token scored", "µs a token written"]
    return Table(header, rows, "What each takes")


def _microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:,.0f}"


def _percent(share: Any) -> str:
    known = number(share)
    return "–" if known is None else f"{known:.0%}"
