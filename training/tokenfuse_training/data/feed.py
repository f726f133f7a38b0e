"""The batches of a stage, one per plan, prepared ahead by workers.

Rank r of W makes the samples at positions p with p % W == r. What a batch holds depends on the
seed and its plan alone: not on workers, not on what was read before.
"""

from __future__ import annotations

import collections
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

from tokenfuse_sdk.preprocess import PreprocessConfig
from tokenfuse_training.config.stage_settings import StageSettings
from tokenfuse_training.data.bad_records import BadRecords
from tokenfuse_training.data.batch import Batch
from tokenfuse_training.data.coder import TextCoder
from tokenfuse_training.data.collate import Collate
from tokenfuse_training.data.order import index_of, mixed
from tokenfuse_training.data.plan import Planner, StepPlan
from tokenfuse_training.data.sample import Drawn, SampleMaker
from tokenfuse_training.data.source import Source, is_indexed, is_stream
from tokenfuse_training.data.streams import TaskStreams, check_source
from tokenfuse_training.data.workers import Workers
from tokenfuse_training.tasks.task import Task

__all__ = ["Feed"]

# Batches that wait for the trainer, of each worker: one that is ready, one that is being made.
_AHEAD_PER_WORKER = 2


class Feed:
    """Iterates `(plan, batch)` to the end of a stage; a context manager.

    The planner must be told of a step (`observe`) before the feed is asked for what lies
    `ahead` steps behind it.

    Args:
        stage: its tasks and its number of steps.
        tasks: by name, the stage's names.
        sources: by name of the data set.
        coder, preprocess: of the model.
        seed: of the run.
        rank, world_size: this process, and how many share each step.
        num_workers: processes that prepare data; 0 is this one.
        planner: says what each step takes; with the state of a checkpoint, the feed goes on
            from there.
        max_bad_shares: data set to its `max_bad_share`.

    Raises:
        ConfigError: streams that the ranks cannot share evenly.
        DataError: a data set without records.
        TooManyBadRecordsError: while iterating, too much of a data set cannot be used.
    """

    def __init__(
        self,
        stage: StageSettings,
        tasks: Mapping[str, Task],
        sources: Mapping[str, Source],
        coder: TextCoder,
        preprocess: PreprocessConfig,
        *,
        seed: int,
        planner: Planner,
        rank: int = 0,
        world_size: int = 1,
        num_workers: int = 0,
        max_bad_shares: Mapping[str, float] | None = None,
    ) -> None:
        assert list(stage.tasks) == list(planner.tasks), "the planner is of another stage"
        self._stage = stage
        self._seed = seed
        self._planner = planner
        self._rank, self._world_size = rank, world_size
        self._end = planner.first_step + stage.steps
        data = {name: settings.data for name, settings in stage.tasks.items()}
        self._sources = {name: sources[name] for name in dict.fromkeys(data.values())}
        self._bad = BadRecords(data, max_bad_shares or {})
        self._streams: dict[str, TaskStreams] = {}
        for task, name in data.items():
            source = self._sources[name]
            check_source(name, source, world_size)
            if is_stream(source):
                self._streams[task] = TaskStreams(source, seed=mixed(*self._key(task)))
        maker = SampleMaker(
            stage=stage,
            tasks={name: tasks[name] for name in stage.tasks},
            sources=self._sources,
            coder=coder,
            preprocess=preprocess,
            seed=seed,
        )
        self._collate = Collate(maker)
        self._depth = max(1, _AHEAD_PER_WORKER * num_workers)
        self._waiting: collections.deque[tuple[StepPlan, Future[Batch]]]
        self._waiting = collections.deque()
        self._workers = Workers(self._collate, num_workers) if num_workers else None
        # One thread reads, so that raw samples of a stream stay in order.
        self._reader = ThreadPoolExecutor(1, "data-reader")

    def __enter__(self) -> Feed:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop reading and end the workers."""
        self._waiting.clear()
        self._reader.shutdown(wait=True, cancel_futures=True)
        if self._workers is not None:
            self._workers.close()
            self._workers = None

    def __iter__(self) -> Iterator[tuple[StepPlan, Batch]]:
        return self

    def __next__(self) -> tuple[StepPlan, Batch]:
        while len(self._waiting) < self._depth:
            plan = self._planner.next_plan()
            assert plan is not None or self._waiting, "a step was asked for before one was observed"
            if plan is None or plan.step >= self._end:
                break
            self._waiting.append((plan, self._begin(plan)))
        if not self._waiting:
            raise StopIteration
        plan, future = self._waiting.popleft()
        batch = future.result()
        self._bad.add(batch, {task: len(self._positions(plan, task)) for task in self._stage.tasks})
        return plan, batch

    def _begin(self, plan: StepPlan) -> Future[Batch]:
        if self._workers is not None:
            return self._workers.ask(self._reader.submit(self._draw, plan))
        future: Future[Batch] = Future()
        future.set_result(self._collate(self._draw(plan)))
        return future

    def _key(self, task: str) -> tuple[int | str, ...]:
        return self._seed, self._stage.name, task

    def _positions(self, plan: StepPlan, task: str) -> range:
        """Those of this rank."""
        place = self._planner.tasks.index(task)
        first, end = plan.first[place], plan.first[place] + plan.counts[place]
        return range(first + (self._rank - first) % self._world_size, end, self._world_size)

    def _draw(self, plan: StepPlan) -> list[Drawn]:
        return [
            Drawn(task=task, position=position, raw=self._raw(task, position))
            for task in self._stage.tasks
            for position in self._positions(plan, task)
        ]

    def _raw(self, task: str, position: int) -> Any:
        if task in self._streams:
            return self._streams[task].sample(position)
        source = self._sources[self._stage.tasks[task].data]
        assert is_indexed(source), f"{task}: neither numbers nor streams"
        return index_of(position, len(source), seed=self._key(task))
