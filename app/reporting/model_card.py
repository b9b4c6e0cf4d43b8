"""Model cards: what a model is, where it comes from, what it has seen and how good it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import yaml

from app.core.languages import display_name
from app.core.records import JsonObject
from app.core.units import format_count
from app.reporting.cells import mapping, number, sequence
from app.reporting.tables import markdown_table, mean_change_text

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Origin:
    """Where all models of a run come from. base: the seed as configured, empty for one trained by the run or unknown.

    licence: that of the base as its card names it, empty where there is no card.
    """

    base: str = ""
    licence: str = ""

    @property
    def header(self) -> dict[str, str]:
        """What the front matter says of it; the Hub takes only its own ids for a base model."""
        fields = {"license": self.licence, "base_model": self.base if _HUB_ID.fullmatch(self.base) else ""}
        return {name: value for name, value in fields.items() if value}

    @property
    def text(self) -> str:
        """The same in words."""
        base = f"`{self.base}`" if self.base else "none: the seed was trained from nothing, or nobody named it"
        unknown = "that of the base model; see its card" if self.base else "none is named; who publishes chooses one"
        licence = self.licence or unknown
        return f"- base model: {base}\n- licence: {licence}; the corpus may have terms of its own"


def model_card(lineage: JsonObject, perplexity: Mapping[str, float], origin: Origin) -> str:
    """The card of one model. lineage: see docs/artifacts.md; perplexity: language -> perplexity, may be empty."""
    name, exposure = str(lineage["name"]), mapping(lineage.get("exposure_tokens"))
    header = {"language": sorted(exposure), **_LIBRARY, "tags": ["x-elm", str(lineage["kind"])], **origin.header}
    parents = map(mapping, sequence(lineage.get("parents")))
    chain = " ← ".join(f"{parent['name']} (`{parent['key']}`)" for parent in parents)
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
            " `AutoTokenizer.from_pretrained`; the tokenizer puts the start token before a text by itself, and"
            " `model_max_length` is the longest text that the model was made for.",
            "",
            *facts,
            origin.text,
            "",
            markdown_table(["language", "training tokens", "perplexity on held-out text"], rows) if rows else "",
            "",
            "Perplexities compare systems within a language, never languages with one another. The chain of parents",
            "with their settings is in `lineage.json`.",
            "",
        ]
    )


def ensemble_card(ensemble: JsonObject, summary: JsonObject, origin: Origin) -> str:
    """The card of the whole: who is in it, how it is mixed, how it did. summary may be empty."""
    experts = [mapping(entry) for entry in sequence(ensemble["experts"])]
    languages = sorted({str(lang) for entry in experts for lang in sequence(entry.get("languages"))})
    rows = [
        [f"[{entry['name']}]({entry['name']})", ", ".join(map(str, sequence(entry.get("languages")))) or "–"]
        for entry in experts
    ]
    mixing = mapping(ensemble.get("mixing"))
    return "\n".join(
        [
            _front_matter({"language": languages, **_LIBRARY, "tags": ["x-elm", "ensemble"], **origin.header}),
            f"# {ensemble['run']}: {len(experts)} experts",
            "",
            "p(x_t | x_<t) = Σ_e α_e p_e(x_t | x_<t) (arXiv 2401.10440);"
            f" weights α: {mixing['name']}, T = {mixing['temperature']}, m = {mixing['top_m'] or 'all'}.",
            "",
            *([_result(summary), ""] if summary else []),
            markdown_table(["expert", "languages"], rows),
            "",
            origin.text,
            "",
            "Run in this folder, with torch and transformers installed:",
            "",
            "```python",
            *_EXAMPLE,
            "```",
            "",
            "`mixture.py` lies beside this card and is all the code there is. It weighs experts by the probability that"
            ' they gave to the text so far; `language="de"` tells it the language. One expert alone:'
            f' `AutoModelForCausalLM.from_pretrained(".", subfolder="{experts[0]["name"]}")`.',
            "",
            "`ensemble.json` and `allocator/` hold what routing needs. Paths are relative: the folder may be moved.",
            "",
        ]
    )


_LIBRARY = {"library_name": "transformers"}
# A test runs these lines as they stand, in an exported folder and without this project.
_EXAMPLE = (
    "from mixture import Mixture",
    "",
    'ensemble = Mixture(".")',
    'text = "12 January"',
    'ids = ensemble.tokenizer(text)["input_ids"]',
    "log_probs = ensemble.log_probs(ids)  # (tokens, vocabulary): row t is the distribution of the token after t",
    "for token in log_probs[-1].topk(3).indices:",
    "    print(repr(ensemble.tokenizer.decode(token)), round(log_probs[-1, token].exp().item(), 3))",
    "print(text + ensemble.generate(text, tokens=12))",
)
_KINDS = {"expert": "An expert", "dense": "The dense baseline", "seed": "The seed", "merged": "The averaged experts"}


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
