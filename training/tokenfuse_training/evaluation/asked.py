"""What is asked: the pictures and questions of a data set, or scenes drawn on the spot."""

from __future__ import annotations

from collections.abc import Iterator

from tokenfuse_sdk.errors import ImageError
from tokenfuse_sdk.preprocess import decode_image
from tokenfuse_training.config.data_settings import ScenesData
from tokenfuse_training.data.bad_records import BadShare
from tokenfuse_training.data.record import Answer, Question, Record
from tokenfuse_training.data.source import IndexedSource
from tokenfuse_training.errors import BadRecordError
from tokenfuse_training.evaluation.ask import AskedPicture

__all__ = ["SourceQuestions", "drawn_scenes"]


class SourceQuestions:
    """Pictures of a data set with what a task asks about them; iterate once.

    Args:
        name: of the data set, for messages.
        source: opened.
        task: vqa, gqa and scenes ask questions, entail about statements, describe for texts.
        num_questions: at most; 0 for all.
        max_bad_share: of the records, before it is an error; counted as in training.
    """

    def __init__(
        self,
        name: str,
        source: IndexedSource,
        task: str,
        *,
        num_questions: int,
        max_bad_share: float,
    ) -> None:
        self._source = source
        self._task = task
        self._left = num_questions
        self._is_limited = num_questions > 0
        self._bad = BadShare(name, max_bad_share)

    @property
    def num_bad(self) -> int:
        """Records that were left out so far."""
        return self._bad.num_bad

    def __iter__(self) -> Iterator[AskedPicture]:
        for index in range(len(self._source)):
            if self._is_limited and self._left <= 0:
                break
            picture = self._picture(index)
            if picture is not None:
                self._left -= len(picture.questions)
                yield picture
        self._bad.end()

    def _picture(self, index: int) -> AskedPicture | None:
        try:
            record = self._source.record(index)
            questions = self._questions(record)
            image_u8 = decode_image(record.image)
        except (BadRecordError, ImageError) as error:
            self._bad.add(seen=1, bad=1, said=[str(error)])
            return None
        self._bad.add(seen=1)
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
