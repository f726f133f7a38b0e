"""One sample of a task: a record, its picture at the model's size, and its texts as ids."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tokenfuse_sdk.errors import ImageError
from tokenfuse_sdk.preprocess import PreprocessConfig, decode_image, fit_image
from tokenfuse_training.config.stage_settings import StageSettings
from tokenfuse_training.data.coder import TextCoder
from tokenfuse_training.data.order import generator
from tokenfuse_training.data.record import Answer, Record
from tokenfuse_training.data.source import Source, is_indexed
from tokenfuse_training.errors import BadRecordError
from tokenfuse_training.tasks.task import Task, Text

__all__ = ["CodedText", "Drawn", "Sample", "SampleMaker"]

# Pictures to look at for a caption that differs from one's own.
_OTHER_TRIES = 8


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """What is to be made.

    Args:
        task: its name.
        position: of the sample, over all ranks.
        raw: what `source.record` takes, or the BadRecordError that was there.
    """

    task: str
    position: int
    raw: Any


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CodedText:
    """A text as ids with their end; targets with their weights."""

    prompt: list[int]
    targets: list[tuple[list[int], float]]
    kind: str
    term: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A sample of `task`; the picture is uint8 (size, size, 3).

    `unused` says what was left out of its texts, and why.
    """

    task: str
    record: Record
    image: np.ndarray
    texts: list[CodedText]
    unused: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SampleMaker:
    """Makes the samples of a stage; pickles to workers.

    Args:
        stage: names its tasks, and what data each has.
        tasks: by those names.
        sources: by name of the data set.
        coder, preprocess: of the model.
        seed: of the run; all that is drawn depends on it, the stage, the task and the position.
    """

    stage: StageSettings
    tasks: Mapping[str, Task]
    sources: Mapping[str, Source]
    coder: TextCoder
    preprocess: PreprocessConfig
    seed: int

    def make(self, drawn: Drawn) -> Sample:
        """The sample.

        Raises:
            BadRecordError: the record, its picture or its texts cannot be used.
        """
        if isinstance(drawn.raw, BadRecordError):
            raise drawn.raw
        settings, task = self.stage.tasks[drawn.task], self.tasks[drawn.task]
        source = self.sources[settings.data]
        record = source.record(drawn.raw)
        draw = generator(self.seed, self.stage.name, drawn.task, "texts", drawn.position)
        if task.needs_other_caption and record.other_caption is None:
            other = _other_caption(record, source, drawn.raw, draw)
            record = dataclasses.replace(record, other_caption=other)
        try:
            # Texts first: they cost nothing where the picture is then not decoded.
            texts, unused = self._coded(task.texts(record, draw, settings.texts))
            if not texts:
                raise (
                    unused[0]
                    if unused
                    else BadRecordError(f"it has no text for the task {drawn.task}")
                )
            image = fit_image(decode_image(record.image), self.preprocess)
        except (BadRecordError, ImageError) as error:
            raise BadRecordError(f"{record.key}: {error}") from error
        return Sample(
            task=drawn.task,
            record=record,
            image=image,
            texts=texts,
            unused=tuple(f"{record.key}: {error}" for error in unused),
        )

    def _coded(self, texts: Sequence[Text]) -> tuple[list[CodedText], list[BadRecordError]]:
        """The texts and targets that can be used, and why others cannot.

        [D] One target that cannot be used leaves the other right answers of its question, one
        text the other texts of its picture.
        """
        coded: list[CodedText] = []
        unused: list[BadRecordError] = []
        for text in texts:
            try:
                prompt = self.coder.prompt_ids(text.prompt)
                targets, errors = self._targets(text)
            except BadRecordError as error:
                unused.append(error)
                continue
            unused += errors
            if targets:
                coded.append(
                    CodedText(prompt=prompt, targets=targets, kind=text.kind, term=text.term)
                )
        return coded, unused

    def _targets(self, text: Text) -> tuple[list[tuple[list[int], float]], list[BadRecordError]]:
        """Targets that can be used, with weights of the same sum, and why others cannot."""
        if not text.targets:
            raise BadRecordError(f"{text.prompt!r} has no answer")
        targets: list[tuple[list[int], float]] = []
        errors: list[BadRecordError] = []
        given: str | tuple[int, ...]
        whole = 0.0
        for target in text.targets:
            if isinstance(target, Answer):
                given, weight = target.text, target.weight
            else:
                given, weight = target, 1.0 / len(text.targets)
            whole += weight
            try:
                targets.append((self.coder.target_ids(given), weight))
            except BadRecordError as error:
                errors.append(error)
        left = sum(weight for _, weight in targets)
        if errors and left > 0:
            targets = [(ids, weight * whole / left) for ids, weight in targets]
        return targets, errors


def _other_caption(
    record: Record, source: Source, index: Any, draw: np.random.Generator
) -> str | None:
    """A caption of another picture; None where the source has no numbers, or none was found."""
    if not is_indexed(source) or len(source) < 2:
        return None
    own = {caption.strip().lower() for caption in record.captions}
    for _ in range(_OTHER_TRIES):
        # Any picture but this one.
        other_index = (index + 1 + int(draw.integers(len(source) - 1))) % len(source)
        try:
            captions = source.record(other_index).captions
        except BadRecordError:
            continue
        if captions:
            caption = captions[int(draw.integers(len(captions)))]
            if caption.strip().lower() not in own:
                return caption
    return None
