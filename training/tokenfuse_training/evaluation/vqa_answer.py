"""The answer normalisation of VQA's official evaluation.

[P of VQA] Its published description: lower case; periods go unless they are of a decimal; number
words become digits; articles go; contractions get the apostrophe they lack; all punctuation but
apostrophes and colons becomes a space, but for commas between digits, which go. Answers and
ground truth pass the same steps.
[D] What counts as punctuation, and which contractions there are, is taken from the lists of the
published evaluator: signs that mean something, such as % and $, stay.
"""

from __future__ import annotations

import itertools
import re

__all__ = ["normalise_answer"]

_PUNCTUATION = str.maketrans(dict.fromkeys(';/[]"{}()=+\\_-><@`,?!', " "))
_COMMA_BETWEEN_DIGITS = re.compile(r"(?<=\d),(?=\d)")
_PERIOD = re.compile(r"\.(?!\d)")
_ARTICLES = frozenset(("a", "an", "the"))
_DIGITS = "zero one two three four five six seven eight nine ten"
_NUMBERS = {word: str(number) for number, word in enumerate(_DIGITS.split())} | {"none": "0"}

# Those whose form without an apostrophe is another word (its, were, well, ill) are not there.
_CONTRACTIONS = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't
haven't he'd he'd've he's how'd how'll how's i'd've i'm i've isn't it'd it'd've it'll ma'am might've
mightn't mightn't've must've mustn't needn't not've o'clock oughtn't 'ow's'at shan't she'd've
should've shouldn't shouldn't've somebody'd somebody'd've somebody'll somebody's someone'd
someone'd've someone'll someone's something'd something'd've something'll that's there'd
there'd've there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've
weren't what'll what're what's what've when's where'd where's where've who'd who'd've who'll
who's who've why'll why're why's won't would've wouldn't wouldn't've y'all y'all'd've y'all'll
you'd you'd've you'll you're you've
"""


def _lacking(word: str) -> list[str]:
    """The word without one or more of its apostrophes."""
    first, *rest = word.split("'")
    marks = itertools.product(("", "'"), repeat=len(rest))
    forms = ["".join([first, *map("".join, zip(some, rest, strict=True))]) for some in marks]
    return [form for form in forms if form != word]


_APOSTROPHES = {form: word for word in _CONTRACTIONS.split() for form in _lacking(word)}


def normalise_answer(text: str) -> str:
    """The form in which answers are compared; it may be empty."""
    text = _COMMA_BETWEEN_DIGITS.sub("", text).translate(_PUNCTUATION)
    text = _PERIOD.sub("", text).lower()
    words = [_NUMBERS.get(word, word) for word in text.split()]
    return " ".join(_APOSTROPHES.get(word, word) for word in words if word not in _ARTICLES)
