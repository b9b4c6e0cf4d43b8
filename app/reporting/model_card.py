"""Model cards: what a model is, where it comes from, what it has seen and how good it is."""

from __future__ import annotations

from collections.abc import Mapping

import yaml

from app.core.languages import display_name
from app.core.records import JsonObject
from app.core.units import format_count
from app.reporting.cells import mapping, number, sequence
from app.reporting.tables import markdown_table, mean_change_text


def model_card(lineage: JsonObject, perplexity: Mapping[str, float]) -> str:
    """The card of one model. lineage: see docs/artifacts.md; perplexity: language -> perplexity, may be empty."""
    name, exposure = str(lineage["name"]), mapping(lineage.get("exposure_tokens"))
    header = {"language": sorted(exposure), "library_name": "transformers", "tags": ["x-elm", str(lineage["kind"])]}
    origin = sequence(lineage.get("parents"))
    chain = " ← ".join(f"{parent['name']} (`{parent['key']}`)" for parent in map(mapping, origin))
    facts = [
        f"- parents: {chain or 'none'}",
        f"- weights: sha256 `{lineage['weights_sha256']}`",
        f"- tokens seen: {_count(lineage.get('tokens_seen'))}, round {lineage.get('round', 0)}",
    ]
    rows = [
        [f"{lang} ({display_name(lang)})", _count(exposure.get(lang)), _figure(perplexity.get(lang))]
        for lang in sorted({*exposure, *perplexity})
    ]
    return "\n".join(
        [
            _front_matter(header),
            f"# {name}",
            "",
            f"{_KINDS.get(str(lineage['kind']), 'A model')} of an X-ELM ensemble (arXiv 2401.10440), run"
            f" `{lineage['run']}`. Load it with `AutoModelForCausalLM.from_pretrained` and"
            " `AutoTokenizer.from_pretrained`; a text begins with the tokenizer's start token.",
            "",
            *facts,
            "",
            markdown_table(["language", "training tokens", "perplexity on held-out text"], rows) if rows else "",
            "",
            "Perplexities compare systems within a language, never languages with one another. The chain of parents",
            "with their settings is in `lineage.json`.",
            "",
        ]
    )


def ensemble_card(ensemble: JsonObject, summary: JsonObject) -> str:
    """The card of the whole: who is in it, how it is mixed, how it did. summary may be empty."""
    experts = [mapping(entry) for entry in sequence(ensemble["experts"])]
    languages = sorted({str(lang) for entry in experts for lang in sequence(entry.get("languages"))})
    rows = [
        [f"[{entry['name']}]({entry['name']})", ", ".join(map(str, sequence(entry.get("languages")))) or "–"]
        for entry in experts
    ]
    first, mixing = str(experts[0]["name"]), mapping(ensemble.get("mixing"))
    return "\n".join(
        [
            _front_matter({"language": languages, "library_name": "transformers", "tags": ["x-elm", "ensemble"]}),
            f"# {ensemble['run']}: {len(experts)} experts",
            "",
            "p(x_t | x_<t) = Σ_e α_e p_e(x_t | x_<t) (arXiv 2401.10440);"
            f" weights α: {mixing['name']}, T = {mixing['temperature']}, m = {mixing['top_m'] or 'all'}.",
            "",
            *([_result(summary), ""] if summary else []),
            markdown_table(["expert", "languages"], rows),
            "",
            "```python",
            "from transformers import AutoModelForCausalLM, AutoTokenizer",
            "",
            'tokenizer = AutoTokenizer.from_pretrained("<this folder>")',
            f'expert = AutoModelForCausalLM.from_pretrained("<this folder>", subfolder="{first}")',
            "```",
            "",
            "`ensemble.json` and `allocator/` hold what routing needs. Paths are relative: the folder may be moved.",
            "",
        ]
    )


_KINDS = {"expert": "An expert", "dense": "The dense baseline", "seed": "The seed"}


def _front_matter(header: Mapping[str, object]) -> str:
    return f"---\n{yaml.safe_dump(dict(header), sort_keys=False, allow_unicode=True)}---\n"


def _result(summary: JsonObject) -> str:
    return (
        f"Against a dense model of the same training tokens: lower perplexity in {summary['wins_over_dense']} of"
        f" {summary['languages_compared']} languages (clearly in {summary['clear_wins_over_dense']}), mean change"
        f" {mean_change_text(summary)}; the languages of the documents are not told."
    )


def _count(value: object) -> str:
    known = number(value)
    return "–" if known is None else format_count(known)


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
