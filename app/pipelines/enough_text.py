"""Whether every language can be trained and evaluated, asked as soon as it is known and before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.core.errors import CorpusError


def require_enough_text(
    languages: Sequence[str],
    counts: Mapping[str, int],
    unit: str,
    least: Mapping[str, int],
    validation_fraction: float,
    cure: str = "",
) -> None:
    """Raise CorpusError naming each language that has too little to train on or too little to be held out.

    languages: those asked for and those found. ``counts``: documents or tokens (``unit``) by ``<lang>/<split>``.
    ``least``: what is needed in each split, e.g. one row. ``cure``: what lowers that.
    """
    short = {
        split: {lang: count for lang in languages if (count := counts.get(f"{lang}/{split}", 0)) < needed}
        for split, needed in least.items()
    }
    if not any(short.values()):
        return
    told = [
        f"{_KINDS[split]} in {', '.join(f'{lang} ({count} {unit} of {least[split]})' for lang, count in found.items())}"
        for split, found in short.items()
        if found
    ]
    left = [lang for lang in languages if not any(lang in found for found in short.values())]
    cures = [f"set corpus.languages to {','.join(left)}"] if left else []
    cures += ["give these languages more text", *([cure] if cure else [])]
    # No cure for training text: a larger share held out would leave even less of it.
    if short.get("validation"):
        cures += [f"raise corpus.validation_fraction ({validation_fraction:g}) or bring files named validation"]
    if len(cures) > 1:
        cures = [", ".join(cures[:-1]), cures[-1]]
    raise CorpusError(f"nothing is trained yet: {'; '.join(told)}. To go on, {' or '.join(cures)}")


_KINDS = {"train": "too little training text", "validation": "too little held-out text"}
