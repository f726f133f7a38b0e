"""The composite task of scenes: questions, descriptions and stepping stones of one picture.

[D] All of it. Each kind is a loss term of its own, so that a stage can weigh them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from tokenfuse_sdk.errors import ConfigError
from tokenfuse_training.config.stage_settings import TaskSettings
from tokenfuse_training.data.record import Question, Record, SceneRecord
from tokenfuse_training.data.scenes.questions import FAMILIES
from tokenfuse_training.errors import BadRecordError
from tokenfuse_training.tasks.task import Text

__all__ = ["ScenesTask"]

_OPTIONS = ("questions", "descriptions", "stones", "family_weights", "description_weight")
_COUNTS = _OPTIONS[:3]


def _number(name: str, value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1e3:
        return float(value)
    raise ConfigError(f"task scenes: {name}={value!r}: need a number from 0 to 1000")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ScenesTask:
    """How many texts of each kind a picture gives, and how they weigh.

    Args:
        questions, descriptions, stones: per picture. Where all are zero, for patch labels alone,
            one question comes along, for a picture has texts, and its loss counts nothing.
        family_weights: makes a question family that much more likely; the others have 1.
        description_weight: of the descriptions' loss.
    """

    questions: int = 1
    descriptions: int = 0
    stones: int = 0
    family_weights: Mapping[str, float] = dataclasses.field(default_factory=dict)
    description_weight: float = 1.0

    needs_other_caption: ClassVar[bool] = False

    @classmethod
    def from_settings(cls, settings: TaskSettings) -> ScenesTask:
        """Read the task's options; with no count among them it asks `texts` questions.

        Raises:
            ConfigError: an option that there is not, or a value that none can have.
        """
        options = dict(settings.options)
        unknown = sorted(set(options) - set(_OPTIONS))
        if unknown:
            raise ConfigError(
                f"task scenes has no option {', '.join(unknown)}; it has {', '.join(_OPTIONS)}"
            )
        counts = {name: options.get(name, 0) for name in _COUNTS}
        for name, value in counts.items():
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise ConfigError(f"task scenes: {name}={value!r}: need an integer of at least 0")
        if not any(name in options for name in _COUNTS):
            counts["questions"] = settings.texts
        elif settings.texts not in (1, sum(counts.values())):
            raise ConfigError(
                f"task scenes: texts={settings.texts}, and options that make "
                f"{sum(counts.values())}; leave texts out"
            )
        weights = options.get("family_weights", {})
        if not isinstance(weights, Mapping) or set(weights) - set(FAMILIES):
            raise ConfigError(
                f"task scenes: family_weights={weights!r}: need numbers by family, of "
                f"{', '.join(FAMILIES)}"
            )
        rate = options.get("description_weight", 1.0)
        return cls(
            **counts,
            family_weights={
                name: _number(f"family_weights.{name}", value) for name, value in weights.items()
            },
            description_weight=_number("description_weight", rate),
        )

    @property
    def terms(self) -> dict[str, float]:
        """A term for each kind of text that there is."""
        every = {
            "question": (self.questions, 1.0),
            "description": (self.descriptions, self.description_weight),
            "stone": (self.stones, 1.0),
        }
        return {name: w for name, (count, w) in every.items() if count} or {"question": 0.0}

    def texts(self, record: Record, draw: np.random.Generator, count: int) -> list[Text]:
        """Distinct texts of each kind; `count` is what the options say already.

        Raises:
            BadRecordError: the record is of no generator.
        """
        if not isinstance(record, SceneRecord):
            raise BadRecordError("no scene; the task scenes needs data of the format scenes")
        num_questions = self.questions or int(not (self.descriptions or self.stones))
        rate_K = [self.family_weights.get(question.kind, 1.0) for question in record.questions]
        found = [
            _text(question, "question", prefix="answer: ")
            for question in _drawn(record.questions, num_questions, draw, rate_K)
        ]
        for term, asked, number in (
            ("description", record.descriptions, self.descriptions),
            ("stone", record.stones, self.stones),
        ):
            found += [_text(question, term) for question in _drawn(asked, number, draw)]
        return found


def _text(question: Question, term: str, prefix: str = "") -> Text:
    prompt = f"{prefix}{question.text}".strip()
    return Text(prompt=prompt, targets=question.answers, kind=question.kind, term=term)


def _drawn(
    questions: Sequence[Question],
    count: int,
    draw: np.random.Generator,
    rate_K: Sequence[float] | None = None,
) -> list[Question]:
    """`count` of them by weight, or as many as there are: first arrivals of exponential clocks."""
    if not count or not questions:
        return []
    rate = np.ones(len(questions)) if rate_K is None else np.asarray(rate_K)
    with np.errstate(divide="ignore"):
        arrival_K = draw.exponential(size=len(questions)) / rate
    chosen = np.argsort(arrival_K, kind="stable")[:count]
    return [questions[k] for k in chosen if np.isfinite(arrival_K[k])]
