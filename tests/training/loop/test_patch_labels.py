"""Labels of patches train beside pictures without them, and need a task that has them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from toy_run import Colors, log_of, stage, toy_config, toy_run

from tokenfuse_sdk.errors import ConfigError
from tokenfuse_training.config.data_settings import DataSettings, ScenesData
from tokenfuse_training.config.stage_settings import TaskSettings
from tokenfuse_training.data.record import SceneRecord
from tokenfuse_training.loop.ranks import Ranks
from tokenfuse_training.loop.trainer import Trainer
from tokenfuse_training.start import begin

TASKS = {
    "ask": TaskSettings(task="vqa", data="colors"),
    "see": TaskSettings(task="caption", data="scenes"),
}


class Labelled(Colors):
    """Half of every picture holds something."""

    def record(self, index):
        plain = super().record(index)
        values = {f.name: getattr(plain, f.name) for f in dataclasses.fields(plain)}
        kinds = np.repeat(np.array([0, 1 + index % 3], np.uint8), 8)
        return SceneRecord(**values, patch_color=kinds, patch_kind=kinds)


def test_the_labels_of_one_task_are_learned_beside_another(tmp_path):
    one = stage(tasks=TASKS, patch_weight=1.0, steps=3, batch_size=4)
    data = {"colors": DataSettings(), "scenes": ScenesData()}
    config = toy_config(one, data=data, run=toy_run(log_steps=1))
    sources = {"colors": Colors(), "scenes": Labelled()}
    trainer = Trainer(config, begin(config), sources, ranks=Ranks(), directory=tmp_path)
    before = trainer.state.named["heads.kind.weight"].detach().clone()
    assert trainer.run(lambda line: None)
    assert all("right/patches" in line for line in log_of(tmp_path))
    assert (trainer.state.named["heads.kind.weight"] - before).abs().max() > 1e-3


def test_a_weight_of_labels_without_scenes_is_refused():
    with pytest.raises(ConfigError, match=r"stages\.one\.patch_weight=0\.5 needs the labels"):
        toy_config(stage(patch_weight=0.5))
    apart = (stage(tasks=TASKS, patch_weight=0.5), stage("two", patch_weight=0.5))
    with pytest.raises(ConfigError, match=r"stages\.two\."):
        toy_config(*apart, data={"colors": DataSettings(), "scenes": ScenesData()})
