"""Data that a run must bear, or refuse: bad records, losses that are not finite, streams."""

from __future__ import annotations

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from toy_run import Colors, log_of, stage, toy_config, toy_run, train, trainer_of, weights_of

from tokenfuse_sdk.errors import ConfigError, NotFiniteError
from tokenfuse_training.config.data_settings import DataSettings
from tokenfuse_training.config.stage_settings import SamplerSettings, TaskSettings
from tokenfuse_training.data.record import Record


def test_bad_records_are_left_out_and_counted(tmp_path):
    source = Colors(bad=tuple(range(0, 40, 9)))
    config = toy_config(data={"colors": DataSettings(max_bad_share=0.5)})
    train(config, tmp_path, source=source)
    lines = log_of(tmp_path)
    assert sum(line["bad/ask"] + line["bad/tell"] for line in lines) > 0
    for line in lines:
        some = line["bad/ask"] + line["bad/tell"] > 0
        assert ("is bad" in line.get("bad_records", "")) == some


def test_a_loss_that_is_not_finite_ends_the_run_with_its_batch(tmp_path):
    config = toy_config(run=toy_run(checkpoint_steps=1, log_steps=1))
    train(config, tmp_path, max_minutes=0.0)
    trainer = trainer_of(config, tmp_path)
    with torch.no_grad():
        # Finite, and too large for what it is multiplied with.
        trainer.state.named["model.decoder.lm_head.weight"].fill_(3e38)
    before = weights_of(trainer)
    with pytest.raises(NotFiniteError) as caught:
        trainer.run(lambda line: None)
    said = str(caught.value)
    path = tmp_path / "not-finite-step-00000001.safetensors"
    for word in (
        "step 1 of stage 'one'", str(path), "step-00000001.safetensors stays", "learning_rate",
        "smaller max_grad_norm",
    ):  # fmt: skip
        assert word in said, said
    # Which it was in.
    assert "fp32" not in said
    kept = load_file(path)
    assert kept["image_u8_BHW3"].shape[1:] == (16, 16, 3)
    with safe_open(path, framework="pt") as file:
        facts = file.metadata()["facts"]
    for word in ("colors/", '"terms": ["ask", "tell"]', '"ask": "nan"'):
        assert word in facts, facts
    # Nothing was changed, and the last good checkpoint is the last.
    for name, tensor in weights_of(trainer).items():
        assert torch.equal(tensor, before[name]), name
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-00000001.safetensors"]
    assert [line["step"] for line in log_of(tmp_path)] == [1]
    assert train(config, tmp_path).step == 6


def test_without_a_checkpoint_none_is_promised(tmp_path):
    run = toy_run(precision="bf16")
    trainer = trainer_of(toy_config(stage(max_grad_norm=0.0), run=run), tmp_path)
    with torch.no_grad():
        trainer.state.named["model.decoder.lm_head.weight"].fill_(3e38)
    with pytest.raises(NotFiniteError) as caught:
        trainer.run(lambda line: None)
    for word in ("no checkpoint yet", "a max_grad_norm (0 clips nothing)", "run.precision=fp32"):
        assert word in str(caught.value)
    with pytest.raises(NotFiniteError, match="there is none before it"):
        trainer.state.named["model.text_projection.weight"].data.fill_(float("nan"))
        trainer.state.save(tmp_path / "checkpoints", 1, {}, 1)


def test_a_stream_has_no_size_for_proportional(tmp_path):
    class Endless:
        fingerprint, num_streams = "endless", 1

        def open_stream(self, stream, *, seed, skip):
            number = skip
            while True:
                yield number % 40
                number += 1

        def record(self, sample) -> Record:
            return Colors().record(sample)

    def config(size):
        tasks = {
            "ask": TaskSettings(task="vqa", data="colors", size=size),
            "tell": TaskSettings(task="caption", data="colors", size=100),
        }
        return toy_config(stage(tasks=tasks, sampler=SamplerSettings(kind="proportional")))

    with pytest.raises(ConfigError, match="set the task's `size`"):
        train(config(0), tmp_path, source=Endless())
    train(config(400), tmp_path / "told", source=Endless())
    line = log_of(tmp_path / "told")[-1]
    assert line["probability/ask"] == pytest.approx(2 / 3)
