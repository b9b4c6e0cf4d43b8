"""The run's page: one self-contained HTML file from JSON records; nothing is loaded from anywhere.

``ReportRecords`` says what each record looks like. A record that is empty leaves its section out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources

from jinja2 import Environment, StrictUndefined

from app.core.records import JsonObject
from app.core.redact import redact
from app.reporting.adaptation import adaptation_section
from app.reporting.allocation import allocation_section, terms_section, tree_section
from app.reporting.cells import Section, mapping, sequence
from app.reporting.comparison import ComparedRun, comparison_sections
from app.reporting.cross_lingual import cross_lingual_section
from app.reporting.groupings import groupings_section, probe_section
from app.reporting.results import matrix_section, perplexity_section, systems_section
from app.reporting.samples import samples_section
from app.reporting.sweep import SweepRecords, sweep_headline, sweep_sections
from app.reporting.tables import headline_text, mean_change_text
from app.reporting.training import status_section, took_section
from app.reporting.work import data_section, exposure_section, loss_section, times_section


@dataclass(frozen=True)
class ReportRecords:
    """What the page shows; every record may be empty.

    summary: ``evaluation/summary.json``: the figures of the headline (``wins_over_dense``, ...), ``systems`` (name ->
        figures), ``expert_of_language``, and ``per_language`` (language -> system -> figures).
    allocation: ``experts`` (names) and ``clusters`` (languages of each expert), or ``documents`` (language -> number
        for each expert), ``documents_per_expert`` and ``max_over_mean``, ``owner_agreement`` and
        ``owner_agreement_early`` (language -> share).
    merges: the typological tree, first merge first: ``left`` and ``right`` languages and ``distance``.
    features: known syntax features of each language of the tree.
    terms: expert -> its top terms.
    probe: ``probe``, ``languages``, and ``distances`` (one for each pair of languages) that the cut rests on.
    adaptation: what ``adaptation_section`` shows of the newest round of new languages.
    groupings: ``agreement`` and ``balance`` of the cut beside other cuts of the same text in the store.
    cross_lingual: answers across languages, as ``cross_lingual_section`` has them.
    samples: what models write, as ``samples_section`` has it.
    published: ``allocation``, ``k``, ``matrix`` (language -> perplexity of each expert), ``baseline``, ``source``.
    data_card: ``duplicates`` (language -> number) and ``rejects`` (reason -> number).
    tokens: ``<lang>/<split>`` -> documents, tokens, bytes.
    models: name -> counts of its manifest, its status as ``jobs.status`` shows it, ``storage_bytes``, and on GPUs
        ``gpu_hours``, ``gpu_hours_forecast``, ``money_spot``, ``money_on_demand``.
    prices: ``currency``, ``gpu``, and whose they are (``of``).
    curves: name -> (tokens, loss) pairs.
    about: title -> text, what stands under the headline: corpus, training seeds, date and code.
    lineage: readable name -> stage and key. config: the resolved tree; secrets in it are hidden.
    environment: name -> version. stages: name -> ``seconds`` of wall clock, ``documents`` or ``tokens`` handled.
    """

    summary: JsonObject = field(default_factory=dict)
    allocation: JsonObject = field(default_factory=dict)
    merges: Sequence[JsonObject] = ()
    features: Mapping[str, int] = field(default_factory=dict)
    terms: JsonObject = field(default_factory=dict)
    probe: JsonObject = field(default_factory=dict)
    adaptation: JsonObject = field(default_factory=dict)
    groupings: JsonObject = field(default_factory=dict)
    cross_lingual: JsonObject = field(default_factory=dict)
    samples: JsonObject = field(default_factory=dict)
    published: JsonObject = field(default_factory=dict)
    data_card: JsonObject = field(default_factory=dict)
    tokens: JsonObject = field(default_factory=dict)
    models: Mapping[str, JsonObject] = field(default_factory=dict)
    prices: JsonObject = field(default_factory=dict)
    curves: Mapping[str, Sequence[Sequence[float]]] = field(default_factory=dict)
    about: Mapping[str, str] = field(default_factory=dict)
    lineage: JsonObject = field(default_factory=dict)
    config: JsonObject = field(default_factory=dict)
    environment: JsonObject = field(default_factory=dict)
    stages: Mapping[str, JsonObject] = field(default_factory=dict)


def render_report(records: ReportRecords) -> str:
    """The page as one HTML string; all text is escaped."""
    summary = records.summary
    return _render(
        name=str(summary.get("run", "")),
        headline=headline_text(summary) if summary else "",
        figures=_figures(summary) if summary else [],
        facts=records.about,
        sections=[section for section in _sections(records) if section is not None],
        environment=records.environment,
        lineage=redact(records.lineage),
        config=json.dumps(redact(records.config), indent=1, ensure_ascii=False) if records.config else "",
    )


def render_comparison(
    root: str, runs: Sequence[ComparedRun], about: Mapping[str, str], groupings: JsonObject | None = None
) -> str:
    """The page of several runs of one store, in the same form. about: see ``ReportRecords``; groupings: see
    ``groupings_section``.
    """
    headline = f"{len(runs)} finished runs of {redact(root)} beside one another"
    cuts = groupings_section(groupings or {})
    return _render(headline=headline, facts=about, sections=[*comparison_sections(runs), *([cuts] if cuts else [])])


def render_sweep(records: SweepRecords) -> str:
    """The page of a sweep, in the same form."""
    return _render(name=records.name, headline=sweep_headline(records), facts={}, sections=sweep_sections(records))


def _render(**shown: object) -> str:
    # A name that is missing raises instead of leaving a gap on the page.
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    # Through the package, since an installed one need not be a folder.
    source = (resources.files("app.reporting") / "report.html.j2").read_text(encoding="utf-8")
    # The other pages have only some of these, and StrictUndefined refuses what is missing.
    empty = dict.fromkeys(("name", "headline", "figures", "facts", "sections", "environment", "lineage", "config"))
    facts = shown["facts"]
    assert isinstance(facts, Mapping)
    # The corpus stands there with its address as it was configured, which may hold a password.
    hidden = {title: str(redact(text)) for title, text in facts.items()}
    return environment.from_string(source).render({**empty, **shown, "facts": hidden})


def _sections(records: ReportRecords) -> list[Section | None]:
    return [
        perplexity_section(records.summary),
        systems_section(records.summary),
        matrix_section(records.summary, records.published),
        allocation_section(records.allocation, records.tokens, records.models),
        tree_section(records.merges, len(sequence(records.allocation.get("experts"))), records.features),
        terms_section(records.terms),
        probe_section(records.probe),
        groupings_section(records.groupings),
        adaptation_section(records.adaptation),
        cross_lingual_section(records.cross_lingual),
        samples_section(records.samples),
        loss_section(records.curves),
        status_section(records.models),
        exposure_section(records.summary),
        data_section(records.tokens, records.data_card),
        times_section(records.stages),
        took_section(records.models, records.prices),
    ]


def _figures(summary: JsonObject) -> list[tuple[str, str]]:
    """The numbers at the top of the page, each with what it counts."""
    compared = summary["languages_compared"]
    figures = [
        (f"{summary['wins_over_dense']} of {compared}", "languages with lower perplexity than dense"),
        (f"{summary['clear_wins_over_dense']}", "clear wins: the interval excludes 0"),
        _mean_change(summary, "mean change of perplexity against dense, languages not told"),
    ]
    if told := mapping(summary["systems"]).get("ensemble_told"):
        figures.append(_mean_change(told, "the same, the language of each document told"))
    return [*figures, (f"{summary['wins_over_seed']} of {compared}", "languages better than the seed")]


def _mean_change(figures: JsonObject, what: str) -> tuple[str, str]:
    """The figure in large, its interval with what it counts."""
    change, _, interval = mean_change_text(figures).partition(" ")
    return change, f"{what}; 95 % interval {interval}"
