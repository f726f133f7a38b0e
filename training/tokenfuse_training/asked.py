"""What is asked: the pictures and questions of a data set, or scenes drawn on the spot."""

from __future__ import annotations

from collections.abc import Iterator

from tokenfuse_sdk.errors import ConfigError, ImageError
from tokenfuse_sdk.preprocess import decode_image
from tokenfuse_training.ask import AskedPicture
from tokenfuse_training.data.record import Answer, Question, Record
from tokenfuse_training.data.source import IndexedSource, Source, is_indexed
from tokenfuse_training.data_settings import ScenesData
from tokenfuse_training.errors import BadRecordError, TooManyBadRecordsError

__all__ = ["SourceQuestions", "drawn_scenes"]

# As in training: of fewer records, a share says nothing.
_LEAST_SEEN = 100
_TOLD = 3


class SourceQuestions:
    """Pictures of a data set with what a task asks about them; iterate once.

    Args:
        name: of the data set, for messages.
        source: opened.
        task: vqa, gqa and scenes ask questions, entail about statements, describe for texts.
        num_questions: at most; 0 for all.
        max_bad_share: of the records, before it is an error.

    Attributes:
        num_bad: records that were left out so far.
        bad: what the first of them said.

    Raises:
        ConfigError: a stream, which has no questions.
    """

    def __init__(
        self, name: str, source: Source, task: str, *, num_questions: int, max_bad_share: float
    ) -> None:
        if not is_indexed(source):
            raise ConfigError(
                f"data set {name!r} is a stream of captions, which asks nothing; evaluate on "
                "vqa2, gqa, snli_ve or scenes"
            )
        self._name = name
        self._source: IndexedSource = source
        self._task = task
        self._left = num_questions
        self._is_limited = num_questions > 0
        self._max_bad_share = max_bad_share
        self._num_seen = 0
        self.num_bad = 0
        self.bad: list[str] = []

    def __iter__(self) -> Iterator[AskedPicture]:
        for index in range(len(self._source)):
            if self._is_limited and self._left <= 0:
                break
            picture = self._picture(index)
            if picture is not None:
                self._left -= len(picture.questions)
                yield picture
        self._check(at_the_end=True)

    def _picture(self, index: int) -> AskedPicture | None:
        self._num_seen += 1
        try:
            record = self._source.record(index)
            questions = self._questions(record)
            image_u8 = decode_image(record.image)
        except (BadRecordError, ImageError) as error:
            self.num_bad += 1
            if len(self.bad) < _TOLD:
                self.bad.append(str(error))
            self._check()
            return None
        return AskedPicture(key=record.key, image_u8=image_u8, questions=questions)

    def _questions(self, record: Record) -> tuple[Question, ...]:
        kind = {"entail": "statements", "describe": "descriptions"}.get(self._task, "questions")
        asked: tuple[Question, ...] = getattr(record, kind, ())
        if not asked:
            raise BadRecordError(f"{record.key}: has no {kind}, which {self._task} asks")
        if self._task in ("scenes", "describe"):
            # A scene repeats texts, so that each has as many.
            asked = tuple({question.text: question for question in reversed(asked)}.values())[::-1]
        return asked[: self._left] if self._is_limited else asked

    def _check(self, *, at_the_end: bool = False) -> None:
        enough = self._num_seen >= _LEAST_SEEN or at_the_end
        if enough and self.num_bad > self._max_bad_share * self._num_seen:
            raise TooManyBadRecordsError(
                f"data set {self._name!r}: {self.num_bad} of {self._num_seen} records cannot be "
                f"used, more than max_bad_share={self._max_bad_share:g}: {'; '.join(self.bad)}. "
                "Mend the data, or allow more"
            )


def drawn_scenes(
    *, split: str, num_questions: int, seed: int | None, image_size: int
) -> Iterator[AskedPicture]:
    """Scenes that nobody has seen, drawn as they are needed.

    Args:
        split: val or test; the digits of neither were seen in training.
        num_questions: of as many scenes as that takes.
        seed: of the scenes; None for that of the shipped model's recipe.
        image_size: pixels along a side.
    """
    from tokenfuse_training.data.scenes import render, sample_scene, scene_questions

    own = ScenesData(split=split)
    seed = own.seed if seed is None else seed
    left, index = num_questions, 0
    while left > 0:
        scene = sample_scene(split, index, seed=seed)
        rows = scene_questions(scene, split, index, seed=seed, num_questions=own.num_questions)
        key = f"scenes/{split}-{seed}-{index}"
        questions = tuple(
            Question(
                id=f"{key}/{k}", text=row.text, answers=(Answer(text=row.answer),), kind=row.family
            )
            for k, row in enumerate(rows[:left])
        )
        yield AskedPicture(key=key, image_u8=render(scene, image_size), questions=questions)
        left -= len(questions)
        index += 1
