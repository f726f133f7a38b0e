"""The words of scenes, the colours' RGB ranges, and the tokenizer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenfuse_sdk.errors import ConfigError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

COLORS = ("red", "green", "blue", "yellow", "purple")
SHAPES = ("circle", "square", "triangle", "star")
DIGITS = tuple("0123456789")
KINDS = (*SHAPES, "digit")

# Lowest and highest value per channel. The ranges hold the pure CSS colours
# (red 255,0,0; green 0,128,0; purple 128,0,128) and keep at least 55 between
# two colours in one channel, so that no jitter makes a colour ambiguous.
COLOR_RANGES = {
    "red": ((190, 255), (0, 60), (0, 60)),
    "green": ((0, 70), (125, 255), (0, 80)),
    "blue": ((0, 60), (0, 105), (185, 255)),
    "yellow": ((215, 255), (190, 255), (0, 75)),
    "purple": ((120, 175), (0, 65), (120, 215)),
}

# What statements say that no picture can show: see `captions.entailment`.
INVISIBLE = ("heavy", "old", "warm", "soft", "new", "cold")

SPECIAL_TOKENS = ("<pad>", "</s>", "<unk>")
PAD_ID, EOS_ID, UNK_ID = 0, 1, 2
# What a config's `tokenizer` may name: the words of scenes, and the same with what pre-training
# says besides behind them, so that the ids of the first stay.
VOCABULARIES = ("scenes", "scenes-pretrain")
MASK_TOKEN = "<mask>"
_PRETRAIN = (MASK_TOKEN, "fill")

_PREFIXES = ("answer", "caption", "complete", "match", "entail", ":")
_PUNCTUATION = ("?", ",", ".")
_ANSWERS = ("yes", "no", "maybe")
# One string, read word by word, is easier to check than eighty quoted words.
_WORDS = """
a an the is are there any how many what which do does of in and than it this that
left right above below to top bottom more fewer same color colour colors colours
thing things object objects shape shapes digit digits number numbers
have has picture image you see kind only one
"""


def words(vocabulary: str = VOCABULARIES[0]) -> tuple[str, ...]:
    """Every token in id order; the position is the id.

    Args:
        vocabulary: one of `VOCABULARIES`.
    """
    if vocabulary not in VOCABULARIES:
        raise ConfigError(f"tokenizer={vocabulary!r}: choose one of {', '.join(VOCABULARIES)}")
    plurals = tuple(f"{shape}s" for shape in SHAPES)
    groups = [SPECIAL_TOKENS, _PREFIXES, _PUNCTUATION, _ANSWERS, COLORS, SHAPES, plurals]
    groups += [DIGITS, tuple(_WORDS.split()), INVISIBLE, ("s",)]
    if vocabulary != VOCABULARIES[0]:
        groups.append(_PRETRAIN)
    return tuple(dict.fromkeys(word for group in groups for word in group))


def build_tokenizer(vocabulary: str = VOCABULARIES[0]) -> Tokenizer:
    """The word-level tokenizer: lower case; words, punctuation and single digits are tokens.

    `decode` joins with spaces and takes away the space before `,`, `.` and `?`.
    Encoding appends nothing: the caller adds `</s>`.

    Args:
        vocabulary: one of `VOCABULARIES`.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

    ids = {word: index for index, word in enumerate(words(vocabulary))}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=SPECIAL_TOKENS[UNK_ID]))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Punctuation(),
            pre_tokenizers.Digits(individual_digits=True),
        ]
    )
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    special = [t for t in (*SPECIAL_TOKENS, MASK_TOKEN) if t in ids]
    tokenizer.add_special_tokens([AddedToken(t, special=True) for t in special])
    return tokenizer
