"""The tasks of pre-training on what both kinds of sources give."""

from __future__ import annotations

import collections
import json

from toy_data import Hundreds, read

from tokenfuse_training.config.stage_settings import StageSettings, TaskSettings
from tokenfuse_training.data.coder import TextCoder
from tokenfuse_training.data.scenes.vocabulary import build_tokenizer
from tokenfuse_training.tasks.make import make_task


def test_the_tasks_of_pretraining_run_on_shards_and_on_records_by_number(shards):
    """Every task makes all of its texts: no record is bad, and what they ask is of the records."""
    layout = json.loads(build_tokenizer().to_str())
    vocabulary = layout["model"]["vocab"]
    vocabulary |= {word: len(vocabulary) + i for i, word in enumerate(("fill", "<mask>"))}
    coder = TextCoder(
        json.dumps(layout).encode(), vocab_size=256, max_text_tokens=24, max_answer_tokens=8
    )
    kinds = ("caption", "complete", "match", "fill")
    settings = {
        f"{task}-{name}": TaskSettings(task=task, data=name, texts=2)
        for task in kinds
        for name in ("numbers", "shards")
    }
    stage = StageSettings(name="pretrain", steps=9, batch_size=24, tasks=settings)
    tasks = {name: make_task(one, coder) for name, one in settings.items()}
    found, _ = read((stage, tasks, {"numbers": Hundreds(31), "shards": shards}), coder, num_steps=9)
    assert sum(len(batch.keys) for _, batch in found) == 9 * 24
    asked = collections.Counter()
    for _, batch in found:
        for q, text in enumerate(batch.text_QL.tolist()):
            task = list(tasks)[batch.task_B[batch.image_index_Q[q]]]
            asked[task] += 1
            assert coder.decode(text).startswith(task.split("-")[0])
    assert set(asked) == set(tasks)
