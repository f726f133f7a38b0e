"""A converted T5 tokenizer gives the ids that `transformers` gives, on text that people write."""

from __future__ import annotations

import base64
import itertools
import json
import unicodedata

import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenfuse_sdk.errors import BundleFormatError, QuestionError
from tokenfuse_sdk.tokenizer import Tokenizer
from tokenfuse_training.errors import InitError
from tokenfuse_training.init.charsmap import differs_from_nfkc
from tokenfuse_training.init.tokenizers import num_ids, read_tokenizer

_TEXT = "the cat what color picture café straße how many circles zebra 42 ½ x² Ⅳ"
# Ligatures and letters of full width as well.
_WORDS = (*_TEXT.split(), "\ufb01ne", "\ufb00", "\uff21\uff22\uff23")


@pytest.fixture(scope="session")
def theirs(t5_folder):
    return transformers.AutoTokenizer.from_pretrained(t5_folder)


@pytest.fixture(scope="session")
def json_folder(theirs, tmp_path_factory):
    """The tokenizer.json that `transformers` writes."""
    folder = tmp_path_factory.mktemp("tokenizer")
    theirs.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def ours(t5_folder):
    return Tokenizer.from_json(read_tokenizer(str(t5_folder)), vocab_size=128)


def test_both_files_become_the_same(t5_folder, json_folder):
    from_pieces = read_tokenizer(str(t5_folder / "spiece.model"))
    from_json = read_tokenizer(str(json_folder / "tokenizer.json"))
    assert json.loads(from_pieces) == json.loads(from_json)
    assert from_pieces != (json_folder / "tokenizer.json").read_bytes()
    assert from_pieces == read_tokenizer(str(t5_folder))
    layout = json.loads(from_pieces)
    assert num_ids(from_pieces) == len(layout["model"]["vocab"])
    assert layout["model"]["vocab"][-1][0] == "<extra_id_0>"
    # Once converted, it stays as it is.
    path = json_folder / "again.json"
    path.write_bytes(from_pieces)
    assert read_tokenizer(str(path)) == from_pieces


def _assert_same(ours, theirs, text):
    try:
        ids = ours.encode(text, 512).tolist()
    except QuestionError:
        return  # Control characters, nothing but blanks.
    assert ids == theirs(text).input_ids


@settings(max_examples=300, deadline=None)
@given(
    words=st.lists(st.sampled_from(_WORDS), min_size=1), blank=st.sampled_from([" ", "  ", "\t"])
)
def test_words(ours, theirs, words, blank):
    text = blank.join(words)
    _assert_same(ours, theirs, text)
    kept = [i for i in theirs(text).input_ids if i != 1]
    assert ours.decode(kept) == theirs.decode(kept)


# Where NFKC and the table differ: marks of no width, the full-width tilde, and signs that the
# library's NFKC is too old for. Found by comparing all characters up to U+FFFF.
_ODD = "\u061c\u1680\u200b\u200c\u200d\u200e\u200f\u2028\u2029\u2581\ufeff\uff5e\ufffd"
_ORDINARY = st.characters(
    max_codepoint=0xFFFF,
    exclude_categories=["Cs", "Cn", "Co", "Cc", "Cf", "Mn", "Me", "Mc"],
    exclude_characters=_ODD + "\u32ff\ua7f1\ua7f2\ua7f3\ua7f4\uab69<",
)


@settings(max_examples=500, deadline=None)
@given(text=st.text(_ORDINARY, min_size=1, max_size=30))
def test_any_characters(ours, theirs, text):
    _assert_same(ours, theirs, text)


@settings(max_examples=200, deadline=None)
@given(text=st.text(st.sampled_from("aeiouncAEO \u0301\u0308\u0303"), min_size=1, max_size=12))
def test_letters_with_marks(ours, theirs, text):
    """Written apart: the table, like NFKC, joins a letter and one mark."""
    marks = [unicodedata.combining(character) != 0 for character in text]
    if marks[0] or any(a and b for a, b in itertools.pairwise(marks)):
        return
    if any(mark and text[i - 1] == " " for i, mark in enumerate(marks)):
        return
    _assert_same(ours, theirs, text)


def test_where_the_two_differ(ours, theirs):
    """Said in docs/model.md; a question may hold none of it by accident."""
    for character in "\u200b\ufeff\ufffd":
        text = f"the{character}cat"
        assert ours.encode(text, 64).tolist() != theirs(text).input_ids
    assert ours.encode("the cat", 64).tolist() == theirs("the\u200bcat").input_ids


def _table(json_folder):
    layout = json.loads((json_folder / "tokenizer.json").read_text())
    return base64.b64decode(layout["normalizer"]["precompiled_charsmap"])


def test_the_table_of_characters_is_read_as_the_library_reads_it(json_folder):
    import tokenizers

    from tokenfuse_training.init.charsmap import _Table

    table = _table(json_folder)
    ours, theirs = _Table(table), tokenizers.normalizers.Precompiled(table)
    for code in [*range(1, 0x800), *range(0x2000, 0x2200), *range(0xFF00, 0xFFF0)]:
        assert ours.text_of(chr(code)) == theirs.normalize_str(chr(code)), hex(code)
    assert differs_from_nfkc(table) is None


@pytest.mark.parametrize("rule", ["identity", "nfkc_cf", "nmt_nfkc_cf"])
def test_other_tables_are_refused(rule, tmp_path):
    """Of sentencepiece's own: `identity` has none, the others fold case."""
    import io

    import sentencepiece

    file = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a b c d e"] * 20),
        model_writer=file,
        vocab_size=12,
        hard_vocab_limit=False,
        normalization_rule_name=rule,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    path = tmp_path / "spiece.model"
    path.write_bytes(file.getvalue())
    if rule == "identity":
        assert json.loads(read_tokenizer(str(path)))["normalizer"] is None
    else:
        with pytest.raises(InitError, match="'A' otherwise than NFKC"):
            read_tokenizer(str(path))


def test_damaged_tables(json_folder, tmp_path):
    table = _table(json_folder)
    size = int.from_bytes(table[:4], "little")
    for damaged in (b"", table[:3], table[:500], table[: 4 + size], b"\xff" * 64, bytes(64)):
        assert differs_from_nfkc(damaged) is not None
    path = tmp_path / "tokenizer.json"
    layout = json.loads((json_folder / "tokenizer.json").read_text())
    for text in ("*", "AAA", None, 3):
        layout["normalizer"]["precompiled_charsmap"] = text
        path.write_text(json.dumps(layout))
        with pytest.raises(InitError, match=str(path)):
            read_tokenizer(str(path))


def test_spaces_are_left_to_the_split(json_folder, tmp_path, ours):
    """Older files merge spaces in the normaliser as well."""
    layout = json.loads((json_folder / "tokenizer.json").read_text())
    spaces = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}
    strip = {"type": "Strip", "strip_left": False, "strip_right": True}
    layout["normalizer"] = {
        "type": "Sequence",
        "normalizers": [layout["normalizer"], strip, spaces],
    }
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(layout))
    again = json.loads(read_tokenizer(str(path)))
    assert again["normalizer"] == {"type": "NFKC"}
    layout["normalizer"]["normalizers"].append({**spaces, "content": "x" * 50})
    path.write_text(json.dumps(layout))
    with pytest.raises(BundleFormatError, match="Replace"):
        num_ids(read_tokenizer(str(path)))


def test_other_post_processors_stay_and_are_refused(json_folder, tmp_path):
    layout = json.loads((json_folder / "tokenizer.json").read_text())
    layout["post_processor"]["single"].insert(0, {"SpecialToken": {"id": "</s>", "type_id": 0}})
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(layout))
    with pytest.raises(BundleFormatError, match="post_processor"):
        num_ids(read_tokenizer(str(path)))


def test_damaged_pieces(spiece, tmp_path):
    path = tmp_path / "spiece.model"
    for damaged in (
        b"",
        spiece[:50],
        spiece[:-5],
        b"\x0a\xff\xff\xff\xff\x0f",
        bytes(30),
        b"\x0a\x00",
    ):
        path.write_bytes(damaged)
        with pytest.raises(InitError, match=r"spiece\.model"):
            read_tokenizer(str(path))


def test_no_tokenizer(tmp_path):
    with pytest.raises(InitError, match=r"has no tokenizer\.json and no spiece\.model"):
        read_tokenizer(str(tmp_path))
    for name in ("nothing.json", "nothing.model", ""):
        with pytest.raises((InitError, ValueError), match="tokenizer"):
            read_tokenizer(name)
    (tmp_path / "link.json").symlink_to("/etc/hostname")
    with pytest.raises(InitError, match="plain file"):
        read_tokenizer(str(tmp_path / "link.json"))
    (tmp_path / "spiece.model").write_bytes(b"x")
    (tmp_path / "tokenizer_config.json").write_text('{"extra_ids": -1}')
    with pytest.raises(InitError, match="extra_ids=-1"):
        read_tokenizer(str(tmp_path))
