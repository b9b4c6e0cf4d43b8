"""Would a better donor have won? New languages, trained from the nearest and the farthest donors by each ranking.

``python -m benchmarks.donors --corpus <folder in mC4's layout>`` after ``make experiment-adaptation``, or after any run
(``--run``, ``--set``). Each new language branches from the three nearest donors and the farthest one of every ranking,
trains on both as ``jobs.adapt`` would, and is scored alone. A row is written as each language ends; at last it says for
each ranking whether nearer donors were better (Spearman) and what the nearest one lost against the best that was tried.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from statistics import mean
from typing import Any

from app.adaptation.rounds import NewExpert, require_new
from app.artifacts.ensemble import EnsembleRecord, ensemble_versions, read_ensemble
from app.artifacts.store import Folder, Store
from app.config.load import load_config
from app.config.schema import Config
from app.core.errors import XelmError
from app.core.languages import normalise
from app.fleet.ray_session import ray_session
from app.fleet.run_fleet import train_fleet
from app.lineage.adapted import AdaptationText, owners_of, round_tasks
from app.lineage.inputs import EVALUATE
from app.pipelines.donors import made_rankings
from app.pipelines.score import nats_per_token, score_models
from app.pipelines.shard import make_shards
from app.pipelines.tokenize import make_tokens
from app.planning.rounds import forecast_round
from app.reporting.rounds import forecast_text
from app.reporting.tables import text_table

log = logging.getLogger(__name__)

RESULTS = "donors/results.jsonl"
NEAREST = 3
Row = dict[str, Any]
Ranked = Mapping[str, Sequence[tuple[str, float]]]
"""Ranking -> donors of one language with their figure, the nearest first."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.donors", description=__doc__)
    parser.add_argument("--corpus", required=True, help="folder in mC4's layout")
    parser.add_argument("--root", default="artifacts", help="artifacts.root")
    parser.add_argument("--run", default="experiment-typological-k8", help="the finished run to start from")
    parser.add_argument("--languages", default="az,he,pl,sv", help="new languages, comma-separated")
    parser.add_argument("--nearest", type=int, default=NEAREST, help="nearest donors of each ranking that are tried")
    parser.add_argument("--set", action="append", default=[], help="further overrides of the preset `experiment`")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    places = [f"corpus.path={arguments.corpus}", f"artifacts.root={arguments.root}", f"run.name={arguments.run}"]
    languages = [normalise(lang) for lang in arguments.languages.split(",")]
    try:
        config = load_config("experiment", overrides=[*places, "adaptation.lapt=false", *arguments.set])
        rows = try_donors(config, Store(arguments.root), languages, arguments.nearest)
    except XelmError as error:
        print(f"donors: {error}", file=sys.stderr)
        return 1
    print(verdict_text(rows))
    return 0


def try_donors(config: Config, store: Store, languages: Sequence[str], nearest: int = NEAREST) -> list[Row]:
    """Train and score every language from its donors; a row each, written to ``donors/results.jsonl`` as they come.

    From the newest version without these languages. Raises MissingArtifact without a finished run, AllocationError for
    a language that all versions hold.
    """
    record = version_without(store.run(config.run.name), languages)
    owners, groups = owners_of(record), [(lang,) for lang in languages]
    require_new(owners, groups)
    rows: list[Row] = []
    with ray_session(config.cluster):
        found = made_rankings(config, store, record, groups)
        for name, why in found.missing.items():
            log.warning("donors: ranking %s is left out: %s", name, why)
        known = sorted(owners)
        ranked = {lang: {name: list(rank(lang, known)) for name, rank in found.by.items()} for lang in languages}
        tried = {lang: tried_donors(ranked[lang], nearest) for lang in languages}
        planned = {lang: _experts(lang, tried[lang], owners) for lang in languages}
        first = sum(expert.round == 0 for expert in record.experts)
        every = [new for experts in planned.values() for new in experts]
        log.info("donors: forecast\n%s", forecast_text(forecast_round(config, store, every, first, record)))
        for lang in languages:
            nats = _trained_from(config, store, record, lang, planned[lang])
            made = [_row(config, lang, new, nats[new.donor], ranked[lang]) for new in planned[lang]]
            _keep(store, made)
            rows += made
            log.info("donors: %s\n%s", lang, donors_text(made))
    return rows


def version_without(run: Folder, languages: Sequence[str]) -> EnsembleRecord:
    """The newest version that holds none of the languages, for they may have joined since; else the current one."""
    current = read_ensemble(run, f"run {EVALUATE} with this config first")
    known = (read_ensemble(run, "", version) for version in reversed(ensemble_versions(run)))
    return next((found for found in known if not set(languages) & owners_of(found).keys()), current)


def tried_donors(ranked: Ranked, nearest: int = NEAREST) -> list[str]:
    """The nearest donors by each ranking and the farthest one, each once."""
    chosen = [lang for row in ranked.values() for lang, _ in (*row[:nearest], *row[-1:])]
    return list(dict.fromkeys(chosen))


def verdict(rows: Iterable[Row]) -> dict[str, Row]:
    """Ranking -> ``correlation``: Spearman's of figure and nats per token within a language, the mean over those where
    both vary (None without any): positive where nearer donors were better; ``lost``: mean nats per token of the nearest
    donor above the best one tried; ``first``: languages whose nearest donor was the best; ``languages`` and ``cases``.
    """
    by_language: dict[str, list[Row]] = {}
    for row in rows:
        by_language.setdefault(row["language"], []).append(row)
    names = {name: None for found in by_language.values() for row in found for name in row["figures"]}
    found = {}
    for name in names:
        cases = [[row for row in each if name in row["figures"]] for each in by_language.values()]
        cases = [each for each in cases if each]
        nearest = [min(each, key=lambda row: row["places"][name]) for each in cases]
        lost = [row["nats"] - min(other["nats"] for other in each) for row, each in zip(nearest, cases, strict=True)]
        told = [value for each in cases if (value := _correlation(each, name)) is not None]
        found[name] = {
            "correlation": mean(told) if told else None,
            "lost": mean(lost),
            "first": sum(value == 0 for value in lost),
            "languages": len(cases),
            "cases": sum(map(len, cases)),
        }
    return found


def donors_text(rows: Sequence[Row]) -> str:
    """Each donor that was tried, the best first, with its place in every ranking."""
    names = list(dict.fromkeys(name for row in rows for name in row["places"]))
    ordered = sorted(rows, key=lambda row: row["nats"])
    lines = [
        [row["language"], row["donor"], f"{row['nats']:.4f}", *(str(row["places"].get(name, "–")) for name in names)]
        for row in ordered
    ]
    return text_table(["language", "donor", "nats/token", *names], lines)


def verdict_text(rows: Sequence[Row]) -> str:
    """Both tables: donors by language, and what the rankings were worth."""
    by_language = dict.fromkeys(row["language"] for row in rows)
    tables = [donors_text([row for row in rows if row["language"] == lang]) for lang in by_language]
    lines = [
        [
            name,
            "–" if found["correlation"] is None else f"{found['correlation']:+.2f}",
            f"{found['lost']:.4f}",
            f"{found['first']} of {found['languages']}",
            str(found["cases"]),
        ]
        for name, found in verdict(rows).items()
    ]
    header = ["ranking", "correlation", "nearest lost, nats/token", "nearest was best", "cases"]
    return "\n\n".join([*tables, text_table(header, lines)])


def _experts(lang: str, donors: Sequence[str], owners: Mapping[str, str]) -> list[NewExpert]:
    return [NewExpert(f"{lang}-from-{donor}", (lang,), donor, owners[donor], 1) for donor in donors]


def _trained_from(
    config: Config, store: Store, record: EnsembleRecord, lang: str, planned: Sequence[NewExpert]
) -> dict[str, float]:
    """Donor -> nats per token of the language's held-out text under the expert that branched from it."""
    together = AdaptationText(config, store, record, sorted({lang, *(new.donor for new in planned)}))
    alone = AdaptationText(config, store, record, [lang])
    for text in (together, alone):
        make_shards(text)
        make_tokens(text)
    tasks, _ = round_tasks(together, record, planned)
    train_fleet(config, tasks)
    scores = score_models(alone, {task.name: task.stage for task in tasks})
    found = nats_per_token({new.name: scores[new.name] for new in planned})
    return {new.donor: found[new.name][lang] for new in planned}


def _row(config: Config, lang: str, new: NewExpert, nats: float, ranked: Ranked) -> Row:
    # A ranking may leave out a donor that another one has chosen.
    known = {name: [donor for donor, _ in row] for name, row in ranked.items()}
    places = {name: donors.index(new.donor) + 1 for name, donors in known.items() if new.donor in donors}
    figures = {name: dict(ranked[name])[new.donor] for name in places}
    return {
        "run": config.run.name,
        "random_seed": config.run.seed,
        "language": lang,
        "donor": new.donor,
        "parent": new.parent,
        "nats": nats,
        "places": places,
        "figures": figures,
    }


def _keep(store: Store, rows: Sequence[Row]) -> None:
    """Add the rows, in the place of those of an earlier time."""
    folder, names = store.folder(""), ("run", "random_seed", "language", "donor")
    before = folder.read(RESULTS).decode().splitlines() if folder.exists(RESULTS) else []
    new = {tuple(row[name] for name in names) for row in rows}
    kept = [line for line in before if tuple(json.loads(line)[name] for name in names) not in new]
    folder.write(RESULTS, "".join(f"{line}\n" for line in (*kept, *map(json.dumps, rows))).encode())


def _correlation(rows: Sequence[Row], name: str) -> float | None:
    """None where fewer than three donors were tried, or all are alike."""
    from scipy.stats import spearmanr

    figures, nats = ([row["figures"][name] for row in rows], [row["nats"] for row in rows])
    if len(rows) < 3 or len(set(figures)) == 1 or len(set(nats)) == 1:
        return None
    return float(spearmanr(figures, nats).statistic)


if __name__ == "__main__":
    sys.exit(main())
