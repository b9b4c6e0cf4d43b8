"""Which language a text is in: what the request says, else what it looks like to an offline library (lingua).

What is told or found is reported with every text. The weights look at what was found only where the request names a
rule that cannot do without a language; the run's own rule is never changed by it, so a weight that was evaluated is
the weight that is served.
"""

from __future__ import annotations

import logging
from collections.abc import Collection

from app.core.errors import ConfigError
from app.core.languages import normalise
from app.corpora.identify import most_likely
from serve.messages import TextLanguage

log = logging.getLogger(__name__)
_DIGITS = 3
_SOME_TEXT = "a"


class Languages:
    """Tells the languages that the experts know from one another. Safe for several threads."""

    def __init__(self, known: Collection[str]) -> None:
        """known: codes that a text may be found to be in; with fewer than two nothing is found."""
        self._known = frozenset(known)

    def warm(self) -> None:
        """Load the library's models, which takes seconds. Where the library is not installed, nothing will be found."""
        try:
            most_likely(_SOME_TEXT, self._known)
        except ConfigError:
            log.warning("languages of requests are not identified: the extra langid (lingua) is not installed")
            self._known = frozenset()  # so that no request tries the import again

    def of(self, text: str, given: str | None) -> TextLanguage:
        """The language of a text. Raises CorpusError for a given one that is none."""
        if given is not None:
            return TextLanguage(normalise(given), "given")
        if not self._known:
            return TextLanguage()
        found = most_likely(text, self._known)
        return TextLanguage() if found is None else TextLanguage(found[0], "identified", round(found[1], _DIGITS))
