"""The answer normalisation, case by case after its published description."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenfuse_training.evaluation import vqa_answer
from tokenfuse_training.evaluation.vqa_answer import normalise_answer

CASES = {
    # Making all characters lowercase.
    "Yes": "yes",
    "NEW YORK": "new york",
    # Removing periods except if it occurs as decimal.
    "yes.": "yes",
    "U.S.": "us",
    "2.5": "2.5",
    ".5": ".5",
    "2.5.": "2.5",
    "st. louis": "st louis",
    "...": "",
    # Converting number words to digits.
    "zero": "0",
    "none": "0",
    "Two": "2",
    "ten": "10",
    "eleven": "eleven",
    "one of two": "1 of 2",
    "someone": "someone",
    # Removing articles (a, an, the).
    "a dog": "dog",
    "The dog": "dog",
    "an apple and a pear": "apple and pear",
    "the": "",
    "theater": "theater",
    "vitamin a": "vitamin",
    # Adding apostrophe if a contraction is missing it.
    "dont": "don't",
    "Don't": "don't",
    "cant": "can't",
    "wont know": "won't know",
    "couldntve": "couldn't've",
    "couldn'tve": "couldn't've",
    "couldnt've": "couldn't've",
    "oclock": "o'clock",
    "whats that": "what's that",
    "youre": "you're",
    "Im": "i'm",
    "twas": "'twas",
    "maam": "ma'am",
    # Words of their own, which are no contraction that lacks something.
    "its": "its",
    "well": "well",
    "were": "were",
    "ill": "ill",
    "shell": "shell",
    "shed": "shed",
    "wed": "wed",
    # Replacing all punctuation (except apostrophe and colon) with a space character.
    "black/white": "black white",
    "black-and-white": "black and white",
    "black, white": "black white",
    "(left)": "left",
    "what?!": "what",
    'the "stop" sign': "stop sign",
    "a;b": "b",
    "x_y": "x y",
    "1+1=2": "1 1 2",
    "<up>": "up",
    "[none]": "0",
    "{one}": "1",
    "me@home": "me home",
    "`c`": "c",
    "c\\d": "c d",
    "girl's": "girl's",
    "2:50 pm": "2:50 pm",
    "2:50PM.": "2:50pm",
    # In case of comma, no space is inserted if it occurs between digits.
    "100,978": "100978",
    "1,000,000": "1000000",
    "1,2,3": "123",
    "1, 2": "1 2",
    "red,blue": "red blue",
    "5,a": "5",
    # Signs that mean something stay.
    "50%": "50%",
    "$5": "$5",
    "#1": "#1",
    "salt & pepper": "salt & pepper",
    # Space of any kind is one space.
    " yes \n": "yes",
    "new\tyork\n city": "new york city",
    "": "",
    "-": "",
}


@pytest.mark.parametrize(("text", "normal"), CASES.items())
def test_as_described(text, normal):
    assert normalise_answer(text) == normal


@given(st.text(st.sampled_from("aAnd1,.'-: ?the"), max_size=12) | st.text(max_size=12))
def test_what_is_normal_stays(text):
    normal = normalise_answer(text)
    assert normal == " ".join(normal.split())
    assert normalise_answer(normal) == normal


def test_contractions_differ_from_their_forms_by_apostrophes_alone():
    forms = vqa_answer._APOSTROPHES
    assert len(forms) > 120
    for form, word in forms.items():
        assert form != word
        assert form.replace("'", "") == word.replace("'", "")
        assert word not in forms
