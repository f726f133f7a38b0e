"""Records that say their number, tasks that say what they drew, and shards of pictures."""

from __future__ import annotations

import io
import itertools
import json
import os
import signal
import tarfile

import numpy as np
from PIL import Image

from tokenfuse_sdk.preprocess import PreprocessConfig
from tokenfuse_training.config.data_settings import WebDatasetData
from tokenfuse_training.config.stage_settings import StageSettings, TaskSettings
from tokenfuse_training.data.coder import TextCoder
from tokenfuse_training.data.feed import Feed
from tokenfuse_training.data.plan import Planner
from tokenfuse_training.data.record import Answer, Record
from tokenfuse_training.data.scenes.vocabulary import build_tokenizer
from tokenfuse_training.data.shards import WebDatasetSource
from tokenfuse_training.errors import BadRecordError
from tokenfuse_training.tasks.task import Text

SIZE = 16


class Stratified:
    """The smallest sampler: alike for all, and it remembers how much it was told."""

    def __init__(self, num_tasks: int) -> None:
        self.num_tasks = num_tasks
        self.told = 0.0

    def shares(self):
        # Moves with what it is told, so that a plan shows what its sampler knew.
        raw = np.ones(self.num_tasks)
        raw[0] += self.told % 3
        return raw / raw.sum()

    def observe(self, step, losses, drops):
        self.told += losses[0]

    def state_dict(self):
        return {"told": self.told}

    def load_state_dict(self, state):
        self.told = state["told"]


class Numbers:
    """`size` pictures whose pixels and captions are their number; some are bad."""

    fingerprint = "numbers"

    def __init__(self, size: int, bad: tuple[int, ...] = ()) -> None:
        self.size = size
        self.bad = bad

    def __len__(self) -> int:
        return self.size

    def record(self, index: int) -> Record:
        if index in self.bad:
            raise BadRecordError(f"number {index} is bad")
        image = np.full((SIZE, SIZE, 3), index % 256, np.uint8)
        caption = " ".join(str(index))
        return Record(key=f"number:{index}", image=image, captions=(caption,))


class Hundreds(Numbers):
    """Numbers of three digits, so that every caption has words to leave out."""

    def record(self, index: int) -> Record:
        return super().record(index + 100)


class Dies(Numbers):
    """As a worker that runs out of memory."""

    def record(self, index):
        os.kill(os.getpid(), signal.SIGKILL)


class Fails(Numbers):
    """As one with a mistake in it."""

    def record(self, index):
        return 1 // 0


class Say:
    """The record's caption, behind a digit that was drawn."""

    needs_other_caption = False

    @property
    def terms(self):
        return {"": 1.0}

    def texts(self, record, draw, count):
        caption = record.captions[0]
        return [
            Text(
                prompt=f"caption: {draw.integers(10)}", targets=(Answer(text=caption),), kind="say"
            )
            for _ in range(count)
        ]


class Other:
    """Another picture's caption in the prompt; its own is half of the truth, by two terms."""

    needs_other_caption = True

    @property
    def terms(self):
        return {"half": 0.5, "whole": 1.0}

    def texts(self, record, draw, count):
        if record.other_caption is None:
            raise BadRecordError("it has no other caption")
        prompt = f"match: {record.other_caption}"
        halves = (Answer(text="yes", weight=0.25), Answer(text="no", weight=0.75))
        return [
            Text(prompt=prompt, targets=halves, kind="a", term="half"),
            Text(prompt=prompt, targets=(Answer(text=record.captions[0]),), kind="b", term="whole"),
        ]


def scenes_coder() -> TextCoder:
    data = build_tokenizer().to_str().encode()
    return TextCoder(data, vocab_size=128, max_text_tokens=24, max_answer_tokens=8)


def png(number: int) -> bytes:
    """A small picture of one colour."""
    data = io.BytesIO()
    Image.new("RGB", (20, 12), (number % 256, 5, 9)).save(data, "PNG")
    return data.getvalue()


def write_shard(path, numbers, **changed: bytes) -> None:
    """As img2dataset writes them: 000012.jpg, .txt, .json; `changed` by `n12_txt`."""
    with tarfile.open(path, "w") as archive:
        for number in numbers:
            caption = " ".join(str(number))
            parts = {
                "png": png(number),
                "txt": caption.encode(),
                "json": json.dumps({"caption": caption, "key": f"{number:06d}"}).encode(),
            }
            for name, data in parts.items():
                data = changed.get(f"n{number}_{name}", data)
                if data:
                    info = tarfile.TarInfo(f"{number:06d}.{name}")
                    info.size = len(data)
                    archive.addfile(info, io.BytesIO(data))


def source_of(folder, *patterns: str, **changed):
    settings = {"num_streams": 1, "shuffle": 4, **changed}
    return WebDatasetSource(
        WebDatasetData(
            root=str(folder), shards=patterns or ("cc-{000000..000004}.tar",), **settings
        )
    )


def take(source, count, stream=0, skip=0, seed=3):
    return list(itertools.islice(source.open_stream(stream, seed=seed, skip=skip), count))


def captions(samples):
    return [s if isinstance(s, BadRecordError) else s.caption.decode() for s in samples]


def digits(*numbers):
    return sorted(" ".join(str(number)) for number in itertools.chain(*numbers))


def stage_of(tasks: dict[str, str], *, steps: int = 1000, batch_size: int = 12) -> StageSettings:
    """A stage of named tasks, each of a data set."""
    settings = {name: TaskSettings(task="caption", data=data) for name, data in tasks.items()}
    return StageSettings(name="toys", steps=steps, batch_size=batch_size, tasks=settings)


def read(
    feed_parts,
    coder,
    *,
    num_steps: int,
    rank: int = 0,
    world_size: int = 1,
    num_workers: int = 0,
    state: str | None = None,
    max_bad_shares=None,
):
    """(plan, batch) of so many steps, and the planner's state at their end as text."""
    stage, tasks, sources = feed_parts
    planner = Planner(
        list(tasks), Stratified(len(tasks)), stage.batch_size, ahead=3, first_step=100
    )
    if state is not None:
        planner.load_state_dict(json.loads(state))
    found = []
    with Feed(
        stage,
        tasks,
        sources,
        coder,
        PreprocessConfig(image_size=SIZE),
        seed=7,
        planner=planner,
        rank=rank,
        world_size=world_size,
        num_workers=num_workers,
        max_bad_shares=max_bad_shares,
    ) as feed:
        for plan, batch in feed:
            found.append((plan, batch))
            planner.observe(plan.step, {name: 0.7 * plan.step for name in tasks}, {})
            if len(found) == num_steps:
                break
    return found, json.dumps(planner.state_dict())
