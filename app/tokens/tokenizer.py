"""Text to token ids and back: a Hugging Face tokenizer, given or trained on the corpus."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tokenizers import Regex, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from app.core.errors import ConfigError
from app.core.records import IntArray

START, PAD, UNKNOWN = "</s>", "<pad>", "<unk>"
_BYTES = [f"<0x{value:02X}>" for value in range(256)]
# Words keep their leading space and their combining marks (Hindi vowel signs are marks, not letters).
_WORDS = r" ?[\p{L}\p{M}]+| ?\p{N}| ?[^\s\p{L}\p{M}\p{N}]+|\s"
_LEAST_MERGES = 64


class Tokenizer:
    """A tokenizer with the few things the project needs; made by ``load_tokenizer``."""

    def __init__(self, library: PreTrainedTokenizerFast) -> None:
        self._library = library
        self._backend: Backend = library.backend_tokenizer
        self.vocab_size = len(library)
        prefix = library("", add_special_tokens=True)["input_ids"]
        starts = [prefix[0] if prefix else None, library.bos_token_id, library.eos_token_id]
        ends = [library.eos_token_id, library.bos_token_id]
        self.start_id = _first(starts)
        self.end_id = _first(ends)
        self.pad_id = _first([library.pad_token_id, self.end_id])
        self._backend.encode_special_tokens = True  # "</s>" in a document is text, not the end of it
        self.digest = hashlib.sha256(self._backend.to_str().encode()).hexdigest()

    def encode_batch(self, texts: Sequence[str]) -> list[IntArray]:
        """Token ids of each text, without special tokens."""
        encodings = self._backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.asarray(encoding.ids, dtype=np.int64) for encoding in encodings]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids, special tokens left out."""
        return self._backend.decode([int(token) for token in ids], skip_special_tokens=True)

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """Text that each token adds to the decoded text; a character cut into bytes belongs to its last byte."""
        texts, shown = [], ""
        for stop in range(1, len(ids) + 1):
            text = self.decode(ids[:stop])
            complete = text.rstrip("\ufffd") if stop < len(ids) else text
            texts.append(complete[len(shown) :])
            shown = max(shown, complete, key=len)
        return texts

    def save(self, folder: str) -> None:
        """Write a folder that ``load_tokenizer`` and the library's AutoTokenizer read."""
        self._library.save_pretrained(folder)


def load_tokenizer(place: str, revision: str | None = None) -> Tokenizer:
    """Load a tokenizer from a folder or Hub id; nothing remote is executed.

    Raises ConfigError if there is none, or if it has neither a start nor an end token.
    """
    try:
        library = AutoTokenizer.from_pretrained(place, revision=revision, use_fast=True)
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot load a tokenizer from {place!r}: {str(error).splitlines()[0]}") from error
    if not isinstance(library, PreTrainedTokenizerFast):
        raise ConfigError(f"{place!r} has no fast tokenizer (tokenizer.json); convert it with transformers first")
    return Tokenizer(library)


def train_tokenizer(texts: Iterator[str], vocabulary_size: int, folder: str) -> None:
    """Train a BPE with byte fallback on ``texts`` and save it; deterministic, and decode(encode(x)) == x.

    ``</s>`` is both start and end of text. Raises ConfigError if the vocabulary has no room for merges.
    """
    specials = [START, PAD, UNKNOWN]
    reserved = len(specials) + len(_BYTES)
    if vocabulary_size < reserved + _LEAST_MERGES:
        raise ConfigError(
            f"seed.vocabulary_size {vocabulary_size} is too small: {reserved} are taken by bytes and special tokens;"
            f" use at least {reserved + _LEAST_MERGES}"
        )
    backend = Backend(models.BPE(unk_token=UNKNOWN, byte_fallback=True))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(_WORDS), behavior="isolated")
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=specials + _BYTES,
        limit_alphabet=(vocabulary_size - reserved) // 2,
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    state = json.loads(backend.to_str())
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] in specials]
    library = PreTrainedTokenizerFast(
        tokenizer_object=Backend.from_str(json.dumps(state)),
        bos_token=START,
        eos_token=START,
        pad_token=PAD,
        unk_token=UNKNOWN,
        clean_up_tokenization_spaces=False,
    )
    Path(folder).mkdir(parents=True, exist_ok=True)
    library.save_pretrained(folder)


def _first(ids: Sequence[int | None]) -> int:
    for token in ids:
        if token is not None:
            return token
    raise ConfigError("the tokenizer has neither a start nor an end token; set eos_token in tokenizer_config.json")
