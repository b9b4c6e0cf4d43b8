from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast, XGLMTokenizer

from app.core.errors import ConfigError
from app.tokens.tokenizer import Tokenizer, equal_text, export_tokenizer, load_tokenizer, train_tokenizer

TEXTS = (
    "The quick brown fox jumps over the lazy dog. It was the best of times, it was the worst of times.\n",
    "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему.",
    "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।",
    "人人生而自由,在尊严和权利上一律平等。すべての人間は、生まれながらにして自由であり、",
    "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
    "يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق. תרבות וחירות",
)
ODD_TEXTS = (
    "",
    " ",
    "  two  spaces \t\r\n\u00a0\u3000 and\n\n\nlines ",
    "</s> <pad><unk> <0x41> <s>",
    "e\u0301 \u1e69 ﬁ ½ Å \u212b",  # would change under any Unicode normalisation
    "👩‍👩‍👧‍👦🏳️‍🌈 \ufffd \ufeff \x00 \U0010ffff",
    "ᏣᎳᎩ ཨོཾ ꦗꦮ 𐎠 ⵜⴰⵎⴰⵣⵉⵖⵜ",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(TEXTS * 3, 600, str(path))
    return path


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Tokenizer:
    return load_tokenizer(str(folder))


@pytest.mark.parametrize("text", TEXTS + ODD_TEXTS)
def test_decoding_gives_back_text_of_every_script(tokenizer: Tokenizer, text: str) -> None:
    (ids,) = tokenizer.encode_batch([text])
    assert tokenizer.decode(ids.tolist()) == text


@given(st.text())
@settings(max_examples=300, deadline=None)
def test_decoding_gives_back_any_text(tokenizer: Tokenizer, text: str) -> None:
    (ids,) = tokenizer.encode_batch([text])
    assert tokenizer.decode(ids.tolist()) == text
    assert "".join(tokenizer.pieces(ids.tolist())) == text
    stream = tokenizer.stream()
    assert "".join(stream.step(token) for token in ids.tolist()) + stream.flush() == text


def test_text_never_becomes_a_special_token(tokenizer: Tokenizer) -> None:
    (ids,) = tokenizer.encode_batch(["a</s>b<pad>c<unk>"])
    assert not {tokenizer.start_id, tokenizer.end_id, tokenizer.pad_id} & set(ids.tolist())


def test_one_token_is_start_and_end(tokenizer: Tokenizer) -> None:
    assert tokenizer.start_id == tokenizer.end_id != tokenizer.pad_id
    assert tokenizer.vocab_size == 600


def test_a_piece_is_the_text_its_token_completes(tokenizer: Tokenizer) -> None:
    text = "fox ꦗ fox"  # three bytes, not in the alphabet
    (ids,) = tokenizer.encode_batch([text])
    pieces = tokenizer.pieces(ids.tolist())
    assert len(pieces) == len(ids) and "".join(pieces) == text
    place = pieces.index("ꦗ")
    assert pieces[place - 2 : place] == ["", ""]


def test_a_character_cut_off_at_the_end_belongs_to_the_last_token(tokenizer: Tokenizer) -> None:
    (ids,) = tokenizer.encode_batch(["foxꦗ"])
    pieces = tokenizer.pieces(ids[:-1].tolist())
    assert "".join(pieces).startswith("fox") and set("".join(pieces)[3:]) == {"\ufffd"}
    stream = tokenizer.stream()
    assert "".join(stream.step(token) for token in ids[:-1].tolist()) == "fox"
    assert "fox" + stream.flush() == "".join(pieces)


@given(st.lists(st.integers(0, 599)))
@settings(max_examples=200, deadline=None)
def test_a_stream_of_any_tokens_shows_all_that_is_text(tokenizer: Tokenizer, ids: list[int]) -> None:
    stream = tokenizer.stream()
    shown = "".join(stream.step(token) for token in ids) + stream.flush()
    specials = {tokenizer.start_id, tokenizer.pad_id, tokenizer._unknown_id}
    spelt = [tokenizer.spelling(token) for token in ids if token not in specials]
    of_bytes = {f"<0x{value:02X}>": bytes([value]) for value in range(256)}
    assert shown == b"".join(of_bytes.get(word, word.encode()) for word in spelt).decode("utf-8", "replace")
    assert "".join(tokenizer.pieces(ids)) == shown


SCRIPTS = {
    "Japanese": "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。人間は、",
    "Thai": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ ต่างมีเหตุผลและมโนธรรม และควรปฏิบัติต่อกัน",
    "Hindi": TEXTS[2] * 2,
    "Russian": TEXTS[1],
    "emoji": "👩‍👩‍👧‍👦🏳️‍🌈👩🏽‍🚀🧑🏿‍🎨👨‍👨‍👦🏴‍☠️🤷🏽‍♀️",
}


@functools.cache
def across_borders(script: str, words: int) -> Tokenizer:
    """A byte-level vocabulary of tokens that end one character and begin the next, as GPT-2, Llama 3 and Qwen have."""
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=words, initial_alphabet=alphabet, special_tokens=["</s>"])
    backend.train_from_iterator([SCRIPTS[script]], trainer)
    return Tokenizer(PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>"))


@pytest.mark.parametrize("words", [257, 278, 320])
@pytest.mark.parametrize("script", SCRIPTS)
def test_no_piece_of_a_text_is_part_of_a_character_where_tokens_cross_borders(script: str, words: int) -> None:
    tokenizer = across_borders(script, words)
    (ids,) = tokenizer.encode_batch([SCRIPTS[script]])
    pieces = tokenizer.pieces(ids.tolist())
    assert "".join(pieces) == tokenizer.decode(ids.tolist()) == SCRIPTS[script]
    assert not any("\ufffd" in piece for piece in pieces)


def test_there_are_tokens_that_cross_borders() -> None:
    for script in ("Japanese", "Thai", "Hindi"):
        tokenizer = across_borders(script, 320)
        assert any(crosses(tokenizer.bytes_of(token)) for token in range(tokenizer.vocab_size)), script


def crosses(spelt: bytes) -> bool:
    """Whether they begin inside one character and end inside another."""
    rest = spelt.lstrip(bytes(range(0x80, 0xC0)))
    return 0 < len(rest) < len(spelt) and rest.decode(errors="ignore") != rest.decode(errors="replace")


@given(st.sampled_from(sorted(SCRIPTS)), st.lists(st.integers(0, 319), max_size=40))
@example("Hindi", [170, 95])
@settings(max_examples=300, deadline=None)
def test_a_byte_level_stream_of_any_tokens_is_what_they_decode_to_and_never_waits_longer_than_it_must(
    script: str, ids: list[int]
) -> None:
    tokenizer = across_borders(script, 320)
    ids = [token for token in ids if token < tokenizer.vocab_size]
    stream, shown = tokenizer.stream(), ""
    for place, token in enumerate(ids):
        shown += stream.step(token)
        whole = tokenizer.decode(ids[: place + 1])
        # What waits is what the last character may still become: one replacement character, two of a half surrogate.
        assert shown == whole[: len(shown)] and whole[len(shown) :] in ("", "\ufffd", "\ufffd\ufffd")
    assert shown + stream.flush() == tokenizer.decode(ids)


@pytest.mark.parametrize("between", [0, 10**6])
def test_what_is_no_text_does_not_part_the_bytes_of_a_character(between: int) -> None:
    tokenizer = across_borders("Japanese", 257)
    first, *others = tokenizer.encode_batch(["語"])[0].tolist()
    assert tokenizer.pieces([first, between, *others]) == ["", "", "", "語"]


def test_a_character_behind_bytes_that_are_no_text_comes_whole(tokenizer: Tokenizer) -> None:
    spelt = tokenizer.encode_batch(["ꦗ"])[0].tolist()
    broken = spelt[1]
    stream = tokenizer.stream()
    shown = [stream.step(token) for token in [broken, broken, *spelt, *tokenizer.encode_batch(["fox"])[0].tolist()]]
    assert "".join(shown) == "\ufffd\ufffdꦗfox"
    assert not any("\ufffd" in piece and piece.strip("\ufffd") for piece in shown[:4])


def test_the_library_loads_the_folder_and_agrees(folder: Path, tokenizer: Tokenizer) -> None:
    library = AutoTokenizer.from_pretrained(str(folder))
    for text in TEXTS:
        assert library(text, add_special_tokens=False)["input_ids"] == tokenizer.encode_batch([text])[0].tolist()
    assert library.bos_token == library.eos_token == "</s>"
    assert load_tokenizer(str(folder)).digest == tokenizer.digest


def test_a_saved_copy_is_the_same_tokenizer(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(str(tmp_path))
    assert load_tokenizer(str(tmp_path)).digest == tokenizer.digest


def test_training_twice_gives_the_same_file(tmp_path: Path) -> None:
    """Many characters of equal frequency at the limit of the alphabet: the library's own limit draws among them."""
    for name in ("one", "two", "three"):
        train_tokenizer([f"{chr(0x4E00 + i)} ab abc" for i in range(1000)], 400, str(tmp_path / name))
    files = {(tmp_path / name / "tokenizer.json").read_bytes() for name in ("one", "two", "three")}
    assert len(files) == 1


def test_a_vocabulary_without_room_for_merges_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"seed\.vocabulary_size 300 .* at least 323"):
        train_tokenizer(TEXTS, 300, str(tmp_path))


def test_a_folder_without_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot load a tokenizer from"):
        load_tokenizer(str(tmp_path))


@pytest.mark.parametrize(
    ("file", "kind", "reason"),
    [
        ("sentencepiece.bpe.model", "xglm", "has special tokens and no others"),
        ("tokenizer.model", "llama", "cannot load a tokenizer from"),
        ("spiece.model", "t5", "cannot load a tokenizer from"),
        ("tokenizer.json", "llama", "cannot load a tokenizer from"),
        ("vocab.json", "gpt2", "cannot load a tokenizer from"),
    ],
)
def test_files_that_the_library_cannot_read_are_refused_with_a_cure(
    file: str, kind: str, reason: str, tmp_path: Path
) -> None:
    (tmp_path / file).write_bytes(b"\x0a\x0f\x0a\x05<unk>\x15\x00\x00\x00\x00\x18\x02")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    with pytest.raises(ConfigError, match=rf"{reason}.*save it with save_pretrained") as caught:
        load_tokenizer(str(tmp_path))
    assert str(tmp_path) in str(caught.value)


def test_equal_text_takes_as_many_bytes_of_each_language() -> None:
    texts = {"en": ["abcd"] * 10, "zh": ["世界"] * 10, "sw": ["ab"]}
    assert list(equal_text(texts, 10)) == ["abcd", "abcd", "ab", "世界", "世", "ab"]


def xglm_folder(path: Path) -> None:
    words = ["▁", "▁a", "▁the", "fox", "▁fox", "s", "<", ">", "/", "the"]
    vocabulary = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    vocabulary += [(word, -float(rank)) for rank, word in enumerate(words, start=1)]
    XGLMTokenizer(vocab=vocabulary).save_pretrained(str(path))


def test_xglm_starts_and_ends_with_the_end_token(tmp_path: Path) -> None:
    xglm_folder(tmp_path)
    tokenizer = load_tokenizer(str(tmp_path))
    library = AutoTokenizer.from_pretrained(str(tmp_path))
    assert tokenizer.start_id == tokenizer.end_id == library.eos_token_id == 2
    assert tokenizer.pad_id == library.pad_token_id
    told = tokenizer.description()
    assert library.bos_token == "<s>" and told["bos_token"] == told["eos_token"] == told["start_token"] == "</s>"
    assert [tokenizer.special(text) for text in ("</s>", "<pad>", "<s>", "the", "")] == [2, 1, None, None, None]
    assert tokenizer.vocab_size == len(library)
    (ids,) = tokenizer.encode_batch(["the fox"])
    assert [tokenizer.start_id, *ids.tolist()] == library("the fox")["input_ids"]
    assert tokenizer.decode(ids.tolist()) == "the fox"
    assert tokenizer.pieces(ids.tolist()) == ["the", " fox"]
    stream = tokenizer.stream()
    assert [stream.step(token) for token in [2, *ids.tolist()]] == ["", "the", " fox"]


def test_a_name_is_the_text_inside_another(tokenizer: Tokenizer, tmp_path: Path) -> None:
    xglm_folder(tmp_path)
    xglm = load_tokenizer(str(tmp_path))
    spelt = {xglm.spelling(token): token for token in range(xglm.vocab_size)}
    assert [xglm.name(spelt[word]) for word in ("▁the", "the", "▁", "fox")] == [" the", "the", " ", "fox"]
    assert xglm.name(xglm.end_id) == "</s>" and xglm.name(spelt["<unk>"]) == "<unk>"
    (ids,) = xglm.encode_batch(["the fox the"])
    assert "".join(map(xglm.name, ids.tolist())) == " the fox the"
    assert tokenizer.name(tokenizer.encode_batch(["ꦗ"])[0].tolist()[0]).startswith("<0x")


def byte_level_folder(path: Path) -> None:
    vocabulary = {character: token for token, character in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    backend = Backend(models.BPE(vocabulary | {"Ġt": 256}, [("Ġ", "t")]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    library = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<é>", clean_up_tokenization_spaces=False)
    library.save_pretrained(str(path))


@pytest.mark.parametrize("text", [*TEXTS, *ODD_TEXTS[1:]])
def test_the_bytes_of_tokens_are_those_of_the_text(tokenizer: Tokenizer, tmp_path: Path, text: str) -> None:
    byte_level_folder(tmp_path)
    for found in (tokenizer, load_tokenizer(str(tmp_path))):
        (ids,) = found.encode_batch([text])
        assert b"".join(map(found.bytes_of, ids.tolist())) == text.encode()
        assert found.bytes_of(found.end_id).decode() == found.spelling(found.end_id)


def test_the_bytes_of_a_token_hold_its_space(tmp_path: Path) -> None:
    xglm_folder(tmp_path)
    xglm = load_tokenizer(str(tmp_path))
    (ids,) = xglm.encode_batch(["the fox"])
    assert [xglm.bytes_of(token) for token in (xglm.end_id, *ids.tolist())] == [b"</s>", b" the", b" fox"]


def test_tokens_of_the_same_text_are_named_by_their_spellings_all_of_them(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizer, "name", lambda token: {5: "x", 6: "x", 7: tokenizer.spelling(8)}.get(token, "y"))
    assert tokenizer.names([5, 6, 7]) == {5: tokenizer.spelling(5), 6: tokenizer.spelling(6), 7: tokenizer.spelling(8)}
    monkeypatch.setattr(tokenizer, "name", lambda token: {7: tokenizer.spelling(8)}.get(token, "x"))
    assert tokenizer.names([7, 8, 9]) == {token: tokenizer.spelling(token) for token in (7, 8, 9)}
    assert tokenizer.spelling(10**6) == "<id 1000000>"


def test_xglm_text_that_spells_the_end_token_does_not_end_the_document(tmp_path: Path) -> None:
    xglm_folder(tmp_path)
    tokenizer = load_tokenizer(str(tmp_path))
    (ids,) = tokenizer.encode_batch(["the</s> fox"])
    assert tokenizer.end_id not in ids.tolist()
    assert tokenizer.encode_batch(["the fox"])[0].tolist() == [ids[0], ids[-1]]


def test_llama_type_keeps_start_and_end_apart(tmp_path: Path) -> None:
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2} | {f"<0x{value:02X}>": 3 + value for value in range(256)}
    vocabulary |= {"▁": 259, "a": 260, "b": 261, "▁a": 262}
    backend = Backend(models.BPE(vocabulary, [("▁", "a")], unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    library = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        clean_up_tokenization_spaces=False,
    )
    library.save_pretrained(str(tmp_path))
    tokenizer = load_tokenizer(str(tmp_path))
    assert (tokenizer.start_id, tokenizer.end_id, tokenizer.pad_id) == (1, 2, 2)
    (ids,) = tokenizer.encode_batch(["ab a世"])
    assert tokenizer.decode(ids.tolist()) == "ab a世"
    assert "".join(tokenizer.pieces(ids.tolist())) == "ab a世"
    stream = tokenizer.stream()
    assert "".join(stream.step(token) for token in [1, *ids.tolist()]) == "ab a世"


@pytest.mark.parametrize("text", TEXTS + ODD_TEXTS[:3])
def test_an_exported_tokenizer_begins_each_text_as_the_product_does(
    folder: Path, tokenizer: Tokenizer, tmp_path: Path, text: str
) -> None:
    export_tokenizer(str(folder), str(tmp_path), 24)
    library = AutoTokenizer.from_pretrained(tmp_path)
    (ids,) = tokenizer.encode_batch([text])
    assert library(text)["input_ids"] == [tokenizer.start_id, *ids.tolist()]
    assert library.model_max_length == 24
    assert library(text * 9, truncation=True)["input_ids"] == library(text * 9)["input_ids"][:24]


def test_an_exported_tokenizer_puts_nothing_after_a_text(folder: Path, tmp_path: Path) -> None:
    library = PreTrainedTokenizerFast.from_pretrained(folder)
    end = [("</s>", library.eos_token_id)]
    library.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=["</s>", "$A", "</s>"], special_tokens=end
    )
    library.save_pretrained(tmp_path / "both")
    export_tokenizer(str(tmp_path / "both"), str(tmp_path / "out"), None)
    exported = AutoTokenizer.from_pretrained(tmp_path / "out")("a quick fox")["input_ids"]
    assert exported == [library.eos_token_id, *library("a quick fox", add_special_tokens=False)["input_ids"]]
