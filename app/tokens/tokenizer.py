"""Text to token ids and back: a Hugging Face tokenizer, given or trained on the corpus."""

from __future__ import annotations

import codecs
import functools
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from tokenizers import Regex, decoders, models, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Backend
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from app.core.errors import ConfigError, ServingError
from app.core.records import IntArray

START, PAD, UNKNOWN = "</s>", "<pad>", "<unk>"
# Spelt as the library's byte fallback looks them up.
_BYTES = [f"<0x{value:02X}>" for value in range(256)]
# The characters that a byte-level vocabulary writes bytes as: printable ones as themselves, the others from 256 on.
_PRINTABLE = (*range(33, 127), *range(161, 173), *range(174, 256))
_BYTE_OF = {chr(value): value for value in _PRINTABLE} | {
    chr(256 + place): value for place, value in enumerate(sorted({*range(256)} - {*_PRINTABLE}))
}
# Words keep their leading space and their combining marks (Hindi vowel signs are marks, not letters).
_WORDS = r" ?[\p{L}\p{M}]+| ?\p{N}| ?[^\s\p{L}\p{M}\p{N}]+|\s"
_LEAST_MERGES = 64
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "sentencepiece.bpe.model", "spiece.model", "vocab.json")
_CONVERT = (
    "a fast tokenizer is needed: where sentencepiece is installed, load it with transformers' AutoTokenizer, save it"
    " with save_pretrained, and put its tokenizer.json into the folder"
)


class Tokenizer:
    """A tokenizer with the few things the project needs; made by ``load_tokenizer``.

    ``start_id`` is what the model was trained to see first (``</s>`` for XGLM, ``<s>`` for Llama), ``end_id`` ends a
    document and may be the same. ``digest`` identifies the mapping from text to ids.
    """

    def __init__(self, library: PreTrainedTokenizerFast) -> None:
        self._library = library
        self._backend: Backend = library.backend_tokenizer
        # Not their number: ids may have gaps.
        self.vocab_size = max(library.get_vocab().values()) + 1
        # What it puts first itself: bos_token_id says <s> for XGLM, which begins texts with </s>.
        prefix = library("", add_special_tokens=True)["input_ids"]
        self.start_id = _first([prefix[0] if prefix else None, library.bos_token_id, library.eos_token_id])
        self.end_id = _first([library.eos_token_id, library.bos_token_id])
        self.pad_id = _first([library.pad_token_id, self.end_id])
        self._backend.encode_special_tokens = True  # "</s>" in a document is text, not the end of it
        # A file may ask for both, which would cut documents without a word.
        self._backend.no_truncation()
        self._backend.no_padding()
        unknown = library.unk_token_id
        self._unknown_id = unknown
        self._is_control = np.zeros(self.vocab_size, dtype=np.bool_)
        self._is_control[[i for i in library.all_special_ids if i != unknown]] = True
        self.digest = hashlib.sha256(self._backend.to_str().encode()).hexdigest()

    def encode_batch(self, texts: Sequence[str]) -> list[IntArray]:
        """Token ids of each text, without special tokens, even where the text spells one."""
        # The fast form leaves out offsets, which nobody here reads.
        encodings = self._backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return [self._without_controls(np.fromiter(each.ids, np.int64, len(each))) for each in encodings]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids, special tokens left out."""
        return self._backend.decode([int(token) for token in ids], skip_special_tokens=True)

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Text that each token adds, as a stream shows it: a character cut into bytes belongs to the token that
        completes it; bytes that never complete one belong to a later token, as replacement characters.

        Costs time linear in the tokens.
        """
        stream = self.stream()
        pieces = [stream.step(int(token)) for token in ids]
        if pieces:
            pieces[-1] += stream.flush()
        return pieces

    def stream(self) -> TextStream:
        """An incremental decoder for one text."""
        return TextStream(self._backend, self._spelt_bytes, self._left_out)

    def name(self, token: int) -> str:
        """The text of one token where it is text, else its name in the vocabulary: ``</s>``, ``<0xE2>``.

        The text that it is inside another: " the" is not "the".
        """
        before, known = self._before
        text: str = self._backend.decode([*before, token], skip_special_tokens=True)
        if not text.startswith(known):  # bytes may change how those before them decode
            known, text = "", self._backend.decode([token], skip_special_tokens=True)
        text = text[len(known) :]
        return text if text and "\ufffd" not in text else self.spelling(token)

    def names(self, tokens: Iterable[int]) -> dict[int, str]:
        """A name for each token that no other of them has: of those that are the same text, all get their spellings."""
        names = {token: self.name(token) for token in tokens}
        counts = Counter(names.values())
        told = {token: name if counts[name] == 1 else self.spelling(token) for token, name in names.items()}
        # A spelling may be the text of yet another token.
        return told if len(set(told.values())) == len(told) else {token: self.spelling(token) for token in told}

    @functools.cached_property
    def _before(self) -> tuple[list[int], str]:
        """A token that is text, and its text: sentencepiece drops the space of a text's first token."""
        for token in (*self._backend.encode("a", add_special_tokens=False).ids[-1:], *range(self.vocab_size)):
            text = self._backend.decode([token], skip_special_tokens=True)
            if text.strip() and "\ufffd" not in text and token != self._unknown_id:
                return [token], text
        return [], ""

    def spelling(self, token: int) -> str:
        """A token's name in the vocabulary, which no other token has; ids may have gaps."""
        found = self._backend.id_to_token(token)
        return f"<id {token}>" if found is None else str(found)

    def bytes_of(self, token: int) -> bytes:
        """The bytes of text that a token stands for; of one that is no text, those of its name."""
        spelt = self._spelt_bytes(token)
        return self.name(token).encode() if spelt is None else spelt

    def _spelt_bytes(self, token: int) -> bytes | None:
        """What a token stands for where the vocabulary spells bytes; None for one that is text by itself."""
        spelling = self.spelling(token)
        if "ByteFallback" in self._decoders and spelling in _BYTES:
            return bytes.fromhex(spelling[3:5])
        # What was added to a vocabulary of bytes is spelt as it is.
        if "ByteLevel" in self._decoders and token not in self._added and set(spelling) <= _BYTE_OF.keys():
            return bytes(_BYTE_OF[character] for character in spelling)
        return None

    @functools.cached_property
    def _decoders(self) -> frozenset[str]:
        """Kinds of the steps that turn tokens into text."""
        if self._backend.decoder is None:
            return frozenset()
        state = json.loads(self._backend.decoder.__getstate__())
        return frozenset(step["type"] for step in (state, *state.get("decoders", ())))

    @functools.cached_property
    def _added(self) -> frozenset[int]:
        return frozenset(self._backend.get_added_tokens_decoder())

    @functools.cached_property
    def _left_out(self) -> frozenset[int]:
        """Tokens that are no part of a decoded text."""
        return frozenset(i for i, added in self._backend.get_added_tokens_decoder().items() if added.special)

    def description(self) -> dict[str, str | None]:
        """The special tokens and the chat template, by the names that clients of a server ask for."""
        template = self._library.chat_template
        return {**self._specials(), "chat_template": template if isinstance(template, str) else None}

    def special(self, text: str) -> int | None:
        """The token whose name in the description is exactly this text."""
        named = text and text in self._specials().values()
        found: int | None = self._backend.token_to_id(text) if named else None
        return found

    def _specials(self) -> dict[str, str | None]:
        # Begin and end as the models know them: the library's bos_token is <s> for XGLM, which it never puts anywhere.
        start, library = self.spelling(self.start_id), self._library
        return {
            "bos_token": start,
            "eos_token": self.spelling(self.end_id),
            "pad_token": library.pad_token,
            "unk_token": library.unk_token,
            "start_token": start,
        }

    def chat_prompt(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Token ids of a conversation, by the tokenizer's own template; the assistant's turn is next.

        Raises ServingError if it has no template, or one that cannot take these messages.
        """
        if not self._library.chat_template:
            raise ServingError("the models' tokenizer has no chat template; use /v1/completions with a prompt")
        try:
            text = self._library.apply_chat_template(
                [dict(message) for message in messages], tokenize=False, add_generation_prompt=True
            )
        except Exception as error:  # a template is a program: it raises what it likes
            raise ServingError(f"the chat template refuses these messages: {error}") from error
        # A template writes the special tokens that it wants itself.
        return list(self._with_specials.encode(str(text), add_special_tokens=False).ids)

    @functools.cached_property
    def _with_specials(self) -> Backend:
        """Another one, to which "</s>" is the end of a text: for what a template has put together."""
        # `encode_special_tokens` is not part of what is written, so the copy has it off.
        return Backend.from_str(self._backend.to_str())

    def save(self, folder: str) -> None:
        """Write a folder that ``load_tokenizer`` and the library's AutoTokenizer read."""
        self._library.save_pretrained(folder)

    def _without_controls(self, ids: IntArray) -> IntArray:
        """A unigram vocabulary matches "</s>" in text like any word; such text becomes unknown."""
        found = self._is_control[ids]
        if not found.any():
            return ids
        return ids[~found] if self._unknown_id is None else np.where(found, np.int64(self._unknown_id), ids)


class TextStream:
    """Text of tokens that come one by one: whole characters only, nothing twice; made by ``Tokenizer.stream``.

    Together its pieces are what ``decode`` makes of all tokens. Only where a byte fallback decodes bytes that are no
    text is it more: the library then gives up all bytes that stand together, here the characters among them stay.

    Bytes are decoded as bytes, not token by token: a token may end one character and begin the next.
    """

    def __init__(
        self, backend: Backend, spelt_bytes: Callable[[int], bytes | None], left_out: Collection[int] = ()
    ) -> None:
        """spelt_bytes: of a token, None for one that is text by itself; left_out: tokens that are no text at all."""
        self._backend, self._spelt_bytes, self._left_out = backend, spelt_bytes, left_out
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._before: list[int] = []  # the last token with text: sentencepiece drops the space of a first one

    def step(self, token: int) -> str:
        """Text that is complete with this token; empty while a character is not, and for a special token."""
        if token in self._left_out:
            return ""
        spelt = self._spelt_bytes(token)
        text = self._text(token) if spelt is None else self._utf8.decode(spelt)
        if text or not self._before:
            self._before = [token]
        # An id that the vocabulary does not have is no text, and the bytes around it stand together.
        return self.flush() + text if spelt is None and text else text

    def flush(self) -> str:
        """Bytes that never became a character, as a replacement character."""
        left = self._utf8.decode(b"", final=True)
        self._utf8.reset()
        return left

    def _text(self, token: int) -> str:
        known = self._backend.decode(self._before, skip_special_tokens=True) if self._before else ""
        text: str = self._backend.decode([*self._before, token], skip_special_tokens=True)
        # A token may change how the one before it decodes; then it is decoded alone.
        if not text.startswith(known):
            known, text = "", self._backend.decode([token], skip_special_tokens=True)
        return text[len(known) :]


def load_tokenizer(place: str, revision: str | None = None) -> Tokenizer:
    """Load a tokenizer from a folder or Hub id; nothing remote is executed.

    Raises ConfigError if there is none, or if it has neither a start nor an end token.
    """
    # the library invents an empty tokenizer for a folder that holds nothing but a model
    if Path(place).is_dir() and not any((Path(place) / name).exists() for name in _TOKENIZER_FILES):
        raise ConfigError(f"cannot load a tokenizer from {place!r}: it holds none of {', '.join(_TOKENIZER_FILES)}")
    try:
        library = AutoTokenizer.from_pretrained(place, revision=revision, use_fast=True, trust_remote_code=False)
    except Exception as error:  # the library raises whatever its many tokenizers and file formats raise
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ConfigError(f"cannot load a tokenizer from {place!r}: {reason}; {_CONVERT}") from error
    if not isinstance(library, PreTrainedTokenizerFast):
        raise ConfigError(f"{place!r} has no fast tokenizer (tokenizer.json); {_CONVERT}")
    # from files that it cannot read the library makes a tokenizer of special tokens alone
    words = set(library.backend_tokenizer.get_vocab(with_added_tokens=False))
    if words <= {*library.all_special_tokens, *library.get_added_vocab()}:
        raise ConfigError(f"the tokenizer in {place!r} has special tokens and no others; {_CONVERT}")
    return Tokenizer(library)


def export_tokenizer(place: str, folder: str, context: int | None) -> None:
    """Write the tokenizer of ``place`` as the product uses it: the start token before each text, nothing after it.

    context: the models' longest row in tokens, which becomes ``model_max_length``; None leaves it as it is.
    """
    library = AutoTokenizer.from_pretrained(place, use_fast=True, trust_remote_code=False)
    start_id = load_tokenizer(place).start_id
    if library("a")["input_ids"] != [start_id, *library("a", add_special_tokens=False)["input_ids"]]:
        start = library.convert_ids_to_tokens(start_id)
        library.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single=[start, "$A"], pair=[start, "$A", "$B"], special_tokens=[(start, start_id)]
        )
    if context is not None:
        library.model_max_length = context
    library.save_pretrained(folder)


def equal_text(texts: Mapping[str, Iterable[str]], bytes_per_language: int) -> Iterator[str]:
    """The first ``bytes_per_language`` UTF-8 bytes of each language's texts, the last text cut between characters.

    A language with less text gives all it has.
    """
    for language_texts in texts.values():
        left = bytes_per_language
        for text in language_texts:
            encoded = text.encode()
            yield text if len(encoded) <= left else encoded[:left].decode(errors="ignore")
            left -= len(encoded)
            if left <= 0:
                break


def train_tokenizer(texts: Iterable[str], vocabulary_size: int, folder: str) -> None:
    """Train a BPE with byte fallback on ``texts`` and save it; deterministic, and decode(encode(x)) == x.

    ``</s>`` is both start and end of text. The most frequent characters get a token of their own, in at most half of
    the room; the others are spelt in bytes. Holds ``texts`` in memory: a sample, not a corpus. Raises ConfigError if
    the vocabulary has no room for merges.
    """
    specials = [START, PAD, UNKNOWN]
    reserved = len(specials) + len(_BYTES)
    if vocabulary_size < reserved + _LEAST_MERGES:
        raise ConfigError(
            f"seed.vocabulary_size {vocabulary_size} is too small: {reserved} are taken by bytes and special tokens;"
            f" use at least {reserved + _LEAST_MERGES}"
        )
    sample = list(texts)
    alphabet = _alphabet(sample, (vocabulary_size - reserved) // 2)
    backend = Backend(models.BPE(unk_token=UNKNOWN, byte_fallback=True))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(_WORDS), behavior="isolated")
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=specials + _BYTES,
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    backend.train_from_iterator(sample, trainer)
    state = json.loads(backend.to_str())
    # The trainer made special tokens of the bytes; decoding leaves special tokens out, and bytes are text.
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] in specials]
    library = PreTrainedTokenizerFast(
        tokenizer_object=Backend.from_str(json.dumps(state)),
        bos_token=START,
        eos_token=START,
        pad_token=PAD,
        unk_token=UNKNOWN,
        # On, the library's own decode would drop spaces before punctuation.
        clean_up_tokenization_spaces=False,
    )
    Path(folder).mkdir(parents=True, exist_ok=True)
    library.save_pretrained(folder)


def _alphabet(texts: Sequence[str], limit: int) -> list[str]:
    """The most frequent characters, ties by code point: the trainer's own limit draws among equals."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    return sorted(counts, key=lambda character: (-counts[character], character))[:limit]


def _first(ids: Sequence[int | None]) -> int:
    for token in ids:
        if token is not None:
            return token
    raise ConfigError("the tokenizer has neither a start nor an end token; set eos_token in tokenizer_config.json")
