"""The whole way in one command: published files and Hugging Face folders to a native answer."""

from __future__ import annotations

import json
import pathlib

import pytest
import torch
from click.testing import CliRunner
from published_files import ten, write_coco_captions, write_vqa2

import tokenfuse_sdk as tf
from tokenfuse_sdk.golden import GOLDEN_BOUND, golden_error
from tokenfuse_training.cli.train import train
from tokenfuse_training.data.scenes import caption, render, sample_scene, scene_questions

NUM_PICTURES = 24


def run(*arguments: object):
    done = CliRunner().invoke(train, [*map(str, arguments)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def sentences() -> list[str]:
    said = []
    for i in range(200):
        scene = sample_scene("train", i, seed=1)
        said.append(caption(scene))
        for q in scene_questions(scene, "train", i, seed=1, num_questions=16):
            said += [q.text, q.answer]
    return [*said, "caption: complete: match: fill: answer: yes no"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[pathlib.Path, pathlib.Path]:
    """A ViT and a T5 v1.1 of random weights, as `save_pretrained` leaves them."""
    transformers = pytest.importorskip("transformers", reason="needs the package transformers")
    sentencepiece = pytest.importorskip("sentencepiece", reason="needs the package sentencepiece")
    root = tmp_path_factory.mktemp("checkpoints")
    torch.manual_seed(0)
    vit = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        image_size=48, patch_size=16,
    )  # fmt: skip
    transformers.ViTModel(vit, add_pooling_layer=False).save_pretrained(root / "vit")
    transformers.ViTImageProcessor(size={"height": 48, "width": 48}).save_pretrained(root / "vit")
    (root / "t5").mkdir()
    (root / "said.txt").write_text("\n".join(sentences()))
    sentencepiece.SentencePieceTrainer.train(
        input=str(root / "said.txt"), model_prefix=str(root / "t5" / "spiece"), vocab_size=90,
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, hard_vocab_limit=False, minloglevel=2,
        character_coverage=1.0,
    )  # fmt: skip
    tokenizer = transformers.T5TokenizerFast.from_pretrained(root / "t5", extra_ids=10)
    tokenizer.save_pretrained(root / "t5")
    t5 = transformers.T5Config(
        vocab_size=128, d_model=32, d_kv=16, num_heads=2, num_layers=1, num_decoder_layers=1,
        d_ff=48, feed_forward_proj="gated-gelu", tie_word_embeddings=False,
    )  # fmt: skip
    transformers.T5ForConditionalGeneration(t5).save_pretrained(root / "t5")
    return root / "vit", root / "t5"


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> pathlib.Path:
    """COCO captions and VQA v2.0 in the folders that the recipe names."""
    root = tmp_path_factory.mktemp("data")
    scenes = [sample_scene("train", i, seed=2) for i in range(NUM_PICTURES)]
    pictures = {i + 1: render(scene, 64) for i, scene in enumerate(scenes)}
    names = write_coco_captions(
        root, [(i + 1, caption(scene)) for i, scene in enumerate(scenes)], split="train2017",
        pictures=pictures,
    )  # fmt: skip
    (root / "annotations").mkdir()
    (root / names["annotations"]).rename(root / "annotations" / names["annotations"])
    for subtype in ("train2014", "val2014"):
        rows = [
            (i + 1, q.text, ten(q.answer))
            for i, scene in enumerate(scenes)
            for q in scene_questions(scene, "train", i, seed=2, num_questions=10)
        ]
        write_vqa2(root, rows, subtype=subtype, pictures=pictures)
    return root


SMALL = (
    "stages.*.batch_size=8", "stages.*.warmup_steps=2", "run.log_steps=2", "run.device=cpu",
    "stages.pretrain.steps=4", "stages.finetune.steps=4", "model.size=nano",
    "stages.*.ema_decay=0.5", "run.tensorboard=false", "model.decoder.max_tokens=8",
)  # fmt: skip


def small(data: pathlib.Path) -> list[str]:
    return [word for value in (f"data.*.root={data}", *SMALL) for word in ("--set", value)]


@pytest.fixture(scope="module")
def trained(data, folders, tmp_path_factory):
    output = tmp_path_factory.mktemp("out") / "my-vqa"
    vision, text = folders
    done = run("vqa2", "-o", output, "--init-vision", vision, "--init-text", text, *small(data))
    assert done.exit_code == 0
    return output, done


def test_one_command_from_published_files_to_a_native_answer(trained, data):
    output, done = trained
    assert done.stdout == ""
    with tf.load(output, device="cpu", precision="fp32") as model:
        image = data / "val2014" / "COCO_val2014_000000000001.jpg"
        answer = model.answer(image, "is there a star?")
        assert isinstance(answer.text, str)
        assert answer.token_budget == 16
        assert model.config.vision.patch_size == 16
        assert model.config.text.vocab_size == 128
        assert golden_error(tf.bundle.read_bundle(output), model._runtime) < GOLDEN_BOUND
        card = model.card
    for word in ("VQA v2.0", "COCO captions", "pretrain", "finetune", "official VQA", "vit", "t5"):
        assert word in card, word
    record = tf.bundle.read_bundle(output).precisions
    assert (record.data, record.split) == ("vqa2", "val")
    work = output.with_name("my-vqa.work")
    told = json.loads((work / "evaluation.json").read_text())
    assert told["vqa"]["accuracy"][-1]["num_questions"] > 200
    lines = [json.loads(line) for line in (work / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6, 8]
    assert [line["stage"] for line in lines] == ["pretrain"] * 2 + ["finetune"] * 2
    assert {name for name in lines[0] if name.startswith("task_loss/")} == {
        f"task_loss/{task}" for task in ("caption", "complete", "match", "fill")
    }
    # Both stages learn.
    assert lines[1]["loss"] < lines[0]["loss"] - 1
    assert lines[3]["loss"] < lines[2]["loss"] - 1
    assert (work / "sampling.png").read_bytes()[:4] == b"\x89PNG"
