"""precisions.json: how often a bundle's lower precisions answered like fp32. An accuracy gate."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tokenfuse_sdk.errors import BundleFormatError, BundleHashError, BundleVersionError
from tokenfuse_sdk.strict_json import parse_object

__all__ = [
    "MAX_QUESTIONS",
    "MAX_SEED",
    "MEASURE_AGAIN",
    "MIN_QUESTIONS",
    "PRECISIONS_NAME",
    "BudgetCount",
    "PrecisionRecord",
    "check_asked",
]

PRECISIONS_NAME = "precisions.json"
MEASURE_AGAIN = "measure again with `tokenfuse precisions BUNDLE --overwrite`"
_VERSION = 1
_REFERENCE = "fp32"
_NAMES = (_REFERENCE, "bf16", "int8")
# Fewer cannot tell 99.5% from 99%: one answer more or less would decide.
MIN_QUESTIONS = 200
MAX_QUESTIONS = 10_000_000
MAX_SEED = (1 << 63) - 1
# Messages show these: nothing that moves a terminal's cursor.
_WORD = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_ASKED = ("data", "split", "seed", "num_questions")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BudgetCount:
    """Answers of one precision at one token budget.

    Attributes:
        token_budget: N.
        same: whose text is that of fp32 at the same budget.
        right: whose text is the true one.
    """

    token_budget: int
    same: int
    right: int


def _check_int(name: str, value: object, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise BundleFormatError(
            f"{PRECISIONS_NAME}: {name} is {value!r}; need an integer from {least} to {most}"
        )


def check_asked(*, num_questions: int, seed: int) -> None:
    """Check what a record can say of the questions: call it before they are asked.

    Raises:
        BundleFormatError: a number out of range.
    """
    _check_int("num_questions", num_questions, MIN_QUESTIONS, MAX_QUESTIONS)
    _check_int("seed", seed, 0, MAX_SEED)


def _check_keys(name: str, value: object, keys: Sequence[str]) -> dict[str, Any]:
    if not isinstance(value, dict) or set(value) != set(keys):
        raise BundleFormatError(f"{PRECISIONS_NAME}: {name} needs exactly {', '.join(keys)}")
    return value


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionRecord:
    """What was measured on one model, by the engine itself.

    Attributes:
        weights_sha256: of the `model.safetensors` that was measured.
        isa: instruction set of the kernels that measured.
        data, split, seed: whose questions were asked.
        num_questions: of each precision, at each budget.
        required_per_mille: answers in a thousand that must be fp32's for a precision to pass.
        counts: precision to its counts, one for each of the model's budgets, in ascending order.
    """

    weights_sha256: str
    isa: str
    data: str
    split: str
    seed: int
    num_questions: int
    required_per_mille: int
    counts: Mapping[str, tuple[BudgetCount, ...]]

    def __post_init__(self) -> None:
        if not isinstance(self.weights_sha256, str) or not _SHA256.fullmatch(self.weights_sha256):
            raise BundleFormatError(f"{PRECISIONS_NAME}: weights_sha256 is no sha256")
        for name in ("isa", "data", "split"):
            value = getattr(self, name)
            if not isinstance(value, str) or not _WORD.fullmatch(value):
                raise BundleFormatError(
                    f"{PRECISIONS_NAME}: {name} is {value!r}; need 1 to 64 letters, digits, '.', "
                    "'_' or '-'"
                )
        check_asked(num_questions=self.num_questions, seed=self.seed)
        _check_int("required_per_mille", self.required_per_mille, 900, 1000)
        if _REFERENCE not in self.counts or not set(self.counts) <= set(_NAMES):
            raise BundleFormatError(
                f"{PRECISIONS_NAME}: has the precisions {sorted(self.counts)}; need "
                f"{_REFERENCE}, and others of {', '.join(_NAMES)} alone"
            )
        for precision, counts in self.counts.items():
            if not counts:
                raise BundleFormatError(
                    f"{PRECISIONS_NAME}: {precision} has no counts; need one for each budget"
                )
            for count in counts:
                _check_int(f"{precision}.token_budget", count.token_budget, 1, 1 << 20)
                _check_int(f"{precision}.same", count.same, 0, self.num_questions)
                _check_int(f"{precision}.right", count.right, 0, self.num_questions)
        if any(count.same != self.num_questions for count in self.counts[_REFERENCE]):
            raise BundleFormatError(f"{PRECISIONS_NAME}: {_REFERENCE} differs from itself")

    def passes(self, precision: str) -> bool:
        """Whether it answers enough like fp32 at every budget; False where it was not measured."""
        if precision not in self.counts:
            return False
        return 1000 * self.least_same(precision) >= self.required_per_mille * self.num_questions

    def least_same(self, precision: str) -> int:
        """Answers that are fp32's, at the budget where they are fewest."""
        return min(count.same for count in self.counts[precision])

    def check_fits(self, *, weights_sha256: str, token_budgets: Sequence[int]) -> None:
        """Check that it was measured on these weights and at these budgets.

        Raises:
            BundleHashError: on other weights.
            BundleFormatError: at other budgets.
        """
        if self.weights_sha256 != weights_sha256:
            raise BundleHashError(
                f"{PRECISIONS_NAME} was measured on other weights than this model.safetensors "
                f"({self.weights_sha256[:12]}... there, {weights_sha256[:12]}... here); "
                f"{MEASURE_AGAIN}"
            )
        for precision, counts in self.counts.items():
            measured = [count.token_budget for count in counts]
            if measured != list(token_budgets):
                raise BundleFormatError(
                    f"{PRECISIONS_NAME}: {precision} was measured at the budgets {measured}; "
                    f"config.json has {list(token_budgets)}; {MEASURE_AGAIN}"
                )

    def to_dict(self) -> dict[str, Any]:
        """The file's object, plain JSON types."""
        return {
            "format_version": _VERSION,
            "weights_sha256": self.weights_sha256,
            "isa": self.isa,
            "asked": {name: getattr(self, name) for name in _ASKED},
            "required_per_mille": self.required_per_mille,
            "precisions": {
                precision: [dataclasses.asdict(count) for count in counts]
                for precision, counts in self.counts.items()
            },
        }

    @classmethod
    def from_json(cls, data: bytes) -> PrecisionRecord:
        """Parse and check the file's bytes.

        Raises:
            BundleVersionError: another format version.
            BundleFormatError: anything else.
        """
        value = parse_object(data, PRECISIONS_NAME)
        version = value.get("format_version")
        if isinstance(version, bool) or version != _VERSION:
            raise BundleVersionError(
                f"{PRECISIONS_NAME} has format_version {version!r}; this SDK reads {_VERSION}. "
                f"Install the SDK that wrote it, or {MEASURE_AGAIN}"
            )
        keys = ("format_version", "weights_sha256", "isa", "asked", "required_per_mille")
        _check_keys("the file", value, (*keys, "precisions"))
        asked = _check_keys("asked", value["asked"], _ASKED)
        precisions = value["precisions"]
        if not isinstance(precisions, dict):
            raise BundleFormatError(f"{PRECISIONS_NAME}: precisions is no object")
        return cls(
            weights_sha256=value["weights_sha256"],
            isa=value["isa"],
            required_per_mille=value["required_per_mille"],
            counts={name: _counts(name, entries) for name, entries in precisions.items()},
            **asked,
        )


def _counts(precision: str, entries: object) -> tuple[BudgetCount, ...]:
    if not isinstance(entries, list):
        raise BundleFormatError(f"{PRECISIONS_NAME}: {precision!r} needs a list of counts")
    keys = tuple(field.name for field in dataclasses.fields(BudgetCount))
    return tuple(BudgetCount(**_check_keys(f"{precision!r}", entry, keys)) for entry in entries)
