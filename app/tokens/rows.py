"""Training rows of several languages: how many of each, in which order, and their tokens."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from app.core.apportion import largest_remainders
from app.core.errors import CorpusError
from app.core.records import IntArray
from app.tokens.dataset import TokenCorpus
from app.tokens.interleaving import Interleaving
from app.tokens.stream import Chosen, LanguageStream


class BlockDataset:
    """Training rows of ``sequence_length`` + 1 tokens, each from one language; row i is a function of (seed, i).

    So a row makes ``sequence_length`` predictions; tokens are counted as predictions. How many rows a language gets is
    its weight times ``num_blocks`` (largest remainders); so exposure is exact, not an expectation. chosen: restricts
    the rows to some documents.
    """

    def __init__(
        self,
        corpus: TokenCorpus,
        weights: Mapping[str, float],
        sequence_length: int,
        num_blocks: int,
        seed: int,
        chosen: Chosen | None = None,
    ) -> None:
        self._length, self.vocab_size = sequence_length, corpus.vocab_size
        # Sorted, so that a row does not depend on the order in which the weights were given.
        self._names = sorted(lang for lang, weight in weights.items() if weight > 0)
        self._streams = [LanguageStream(corpus, lang, sequence_length, seed, chosen) for lang in self._names]
        for lang, stream in zip(self._names, self._streams, strict=True):
            # Else a single row would go through the language's text more than once.
            if stream.tokens < sequence_length:
                raise CorpusError(
                    f"{lang} has {stream.tokens} training tokens, less than one row of {sequence_length};"
                    " leave it out of corpus.languages or lower training.sequence_length"
                )
        self._counts = largest_remainders([weights[lang] for lang in self._names], num_blocks)
        self._order = Interleaving(self._counts, seed)

    def __len__(self) -> int:
        return len(self._order)

    def rows(self, start: int, stop: int) -> IntArray:
        """Rows start..stop-1, (stop - start, sequence_length + 1) int64; 0 <= start <= stop <= len(self)."""
        assert 0 <= start <= stop <= len(self)
        out = np.empty((stop - start, self._length + 1), dtype=np.int64)
        for line, i in enumerate(range(start, stop)):
            language, ordinal = self._order.at(i)
            self._streams[language].read(ordinal, out[line])
        return out

    def languages(self, start: int, stop: int) -> list[str]:
        """Language of each of the rows start..stop-1."""
        return [self._names[self._order.at(i)[0]] for i in range(start, stop)]

    def exposure(self) -> dict[str, int]:
        """Tokens predicted per language over all rows."""
        return {lang: count * self._length for lang, count in zip(self._names, self._counts, strict=True)}

    def epochs(self) -> dict[str, float]:
        """How many times over all rows go through each language's documents."""
        seen = self.exposure()
        return {lang: seen[lang] / stream.tokens for lang, stream in zip(self._names, self._streams, strict=True)}

    def tokens(self) -> dict[str, int]:
        """Tokens of each language's documents."""
        return {lang: stream.tokens for lang, stream in zip(self._names, self._streams, strict=True)}
