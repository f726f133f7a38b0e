"""Samples to one batch of tensors, and pictures to what the model sees."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from tokenfuse_sdk.preprocess import PreprocessConfig, preprocess
from tokenfuse_training.data.batch import Batch
from tokenfuse_training.data.coder import EOS_ID, padded
from tokenfuse_training.data.record import Record, SceneRecord
from tokenfuse_training.data.sample import CodedText, Drawn, Sample, SampleMaker
from tokenfuse_training.errors import BadRecordError
from tokenfuse_training.tasks.task import Task

__all__ = ["Collate", "normalise", "term_names"]

# Of each task and batch, so that messages name what is wrong without filling a log.
_MAX_MESSAGES = 3


def _full_name(task: str, part: str) -> str:
    return f"{task}/{part}" if part else task


def term_names(tasks: Mapping[str, Task]) -> tuple[str, ...]:
    """Names of a stage's loss terms, in the order that `Batch.term_R` counts."""
    return tuple(_full_name(name, term) for name, task in tasks.items() for term in task.terms)


class Collate:
    """Makes the samples of one rank's part of a step into a batch; pickles to workers.

    Bad records are left out and counted. Where nothing is left, the batch is one blank picture
    whose target has weight 0: it counts for nothing, and no rank runs without a picture.
    """

    def __init__(self, maker: SampleMaker) -> None:
        self._maker = maker
        self._tasks = {name: i for i, name in enumerate(maker.stage.tasks)}
        self._terms = term_names({name: maker.tasks[name] for name in self._tasks})

    def __call__(self, drawn: Sequence[Drawn]) -> Batch:
        samples: list[Sample] = []
        messages: dict[str, list[str]] = {name: [] for name in self._tasks}
        unused: dict[str, list[str]] = {name: [] for name in self._tasks}
        for one in drawn:
            try:
                samples.append(self._maker.make(one))
                unused[one.task] += [f"{one.task}: {said}" for said in samples[-1].unused]
            except BadRecordError as error:
                messages[one.task].append(f"{one.task}: {error}")
        batch = self._batch(samples) if samples else self._blank()
        return dataclasses.replace(
            batch,
            num_bad={name: len(said) for name, said in messages.items()},
            bad=_first(messages),
            num_unused={name: len(said) for name, said in unused.items()},
            unused=_first(unused),
        )

    def _batch(self, samples: Sequence[Sample]) -> Batch:
        texts = [(b, text) for b, sample in enumerate(samples) for text in sample.texts]
        targets = [
            (q, ids, weight) for q, (_, text) in enumerate(texts) for ids, weight in text.targets
        ]
        kind_Q = [_full_name(samples[b].task, text.kind) for b, text in texts]
        kinds = tuple(dict.fromkeys(kind_Q))
        term_Q = [_full_name(samples[b].task, text.term) for b, text in texts]
        records = [sample.record for sample in samples]
        return Batch(
            image_u8_BHW3=torch.from_numpy(np.stack([sample.image for sample in samples])),
            image_index_Q=torch.tensor([b for b, _ in texts]),
            text_QL=torch.from_numpy(padded([text.prompt for _, text in texts])),
            target_RA=torch.from_numpy(padded([ids for _, ids, _ in targets])),
            text_index_R=torch.tensor([q for q, _, _ in targets]),
            weight_R=torch.tensor([weight for _, _, weight in targets], dtype=torch.float32),
            term_R=torch.tensor([self._terms.index(term_Q[q]) for q, _, _ in targets]),
            terms=self._terms,
            kind_Q=torch.tensor([kinds.index(kind) for kind in kind_Q]),
            kinds=kinds,
            keys=tuple(sample.record.key for sample in samples),
            task_B=torch.tensor([self._tasks[sample.task] for sample in samples]),
            num_bad={},
            patch_color_BS=_labels(records, "patch_color"),
            patch_kind_BS=_labels(records, "patch_kind"),
        )

    def _blank(self) -> Batch:
        size = self._maker.preprocess.image_size
        task = next(iter(self._tasks))
        term = next(iter(self._maker.tasks[task].terms))
        text = CodedText(prompt=[EOS_ID], targets=[([EOS_ID], 0.0)], kind="", term=term)
        sample = Sample(
            task=task,
            record=Record(key="", image=b""),
            image=np.zeros((size, size, 3), np.uint8),
            texts=[text],
        )
        return self._batch([sample])


def _first(messages: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    return tuple(line for said in messages.values() for line in said[:_MAX_MESSAGES])


def _labels(records: Sequence[Record], name: str) -> Tensor | None:
    """Labels of the scenes, -1 (unknown) of pictures beside them; None where there is no scene."""
    known = [
        getattr(record, name) if isinstance(record, SceneRecord) else None for record in records
    ]
    of_a_scene = next((row for row in known if row is not None), None)
    if of_a_scene is None:
        return None
    unknown = np.full(of_a_scene.shape, -1, np.int64)
    rows = [unknown if row is None else row.astype(np.int64) for row in known]
    return torch.from_numpy(np.stack(rows))


def normalise(image_u8_BHW3: Tensor, config: PreprocessConfig) -> Tensor:
    """uint8 pictures of the model's size to what `tokenfuse_sdk.preprocess` makes of them.

    That is `x * scale + shift` per channel, so both are read off two of its pixels: 0, and 1
    where the mean is 0. One call a picture would take ten times as long. The result is float32
    on the pictures' device.
    """
    config = dataclasses.replace(config, image_size=1)
    no_mean = dataclasses.replace(config, image_mean=(0.0, 0.0, 0.0))
    shift_3 = torch.from_numpy(preprocess(np.zeros((1, 1, 3), np.uint8), config)).view(3)
    scale_3 = torch.from_numpy(preprocess(np.ones((1, 1, 3), np.uint8), no_mean)).view(3)
    device, width = image_u8_BHW3.device, image_u8_BHW3.shape[2]
    # Whole rows: an innermost loop over three channels would be most of the time.
    row_BHK = image_u8_BHW3.flatten(2).to(torch.float32)
    row_BHK.mul_(scale_3.to(device).tile(width)).add_(shift_3.to(device).tile(width))
    return row_BHK.view(image_u8_BHW3.shape)
