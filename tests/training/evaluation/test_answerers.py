"""The PyTorch reference and the SDK's model answer alike, and both as one question at a time."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

import tokenfuse_sdk as tf
from tokenfuse_sdk.bundle import read_bundle
from tokenfuse_sdk.shipped import find_bundle
from tokenfuse_training.cli.evaluate import evaluate
from tokenfuse_training.data.coder import TextCoder
from tokenfuse_training.data.record import Question
from tokenfuse_training.evaluation.answerers import ModelAnswerer, TorchAnswerer
from tokenfuse_training.evaluation.ask import AskedPicture, ask
from tokenfuse_training.evaluation.asked_set import scenes_set
from tokenfuse_training.evaluation.guesses import guessed
from tokenfuse_training.model import model_from_weights

LONG = "is there a red star? " * 40


@pytest.fixture(scope="module")
def bundle():
    return read_bundle(find_bundle("scenes-nano"))


@pytest.fixture(scope="module")
def reference(bundle):
    config = bundle.config
    coder = TextCoder.of_model((bundle.path / "tokenizer.json").read_bytes(), config)
    model = model_from_weights(config, bundle.weights)
    # A batch that does not divide the questions.
    return TorchAnswerer(model, coder, bundle.preprocess, batch=7)


@pytest.fixture(scope="module")
def pictures(bundle) -> list[AskedPicture]:
    """More than are asked at a time, one of them with what no model takes."""
    scenes = scenes_set(split="val", num_questions=400, seed=5)
    found = list(scenes.pictures(bundle.config.vision))[:34]
    odd = tuple(
        Question(id=str(k), text=text) for k, text in enumerate((LONG, " ", "is there a 3?"))
    )
    return [AskedPicture(key="odd", image_u8=found[0].image_u8[:40], questions=odd), *found]


@pytest.mark.parametrize("prefix", ["answer: ", ""])
def test_both_answer_alike(reference, pictures, prefix):
    some = pictures if prefix else pictures[:3]
    with tf.load("scenes-nano", device="cpu", precision="fp32") as model:
        asked = [
            list(ask(answerer, some, prefix=prefix, token_budgets=(4, 16)))
            for answerer in (ModelAnswerer(model), reference)
        ]
        assert [(row.picture, row.question) for row in asked[0]] == [
            (number, question)
            for number, picture in enumerate(some)
            for question in picture.questions
        ]
        for native, torch_row in zip(*asked, strict=True):
            assert native == torch_row
        # One at a time, as an application asks.
        for row in asked[0][3:40]:
            image = some[row.picture].image_u8
            for budget, text in row.answers.items():
                want = model.generate(image, prefix + row.question.text, token_budget=budget).text
                assert text == want
    refused = [None in row.answers.values() for row in asked[0]]
    assert refused == [True, True, *[False] * (len(refused) - 2)]


def test_an_exported_model_is_one_flag_away(exported_nano):
    told = {}
    for backend in ("native", "onnxruntime"):
        arguments = ["-m", str(exported_nano), "--backend", backend, "--num-questions", "120"]
        arguments += ["--precision", "fp32", "--device", "cpu", "--token-budget", "16", "--json"]
        done = CliRunner().invoke(evaluate, arguments)
        assert done.exception is None, done.exception
        told[backend] = json.loads(done.stdout)
    assert told["onnxruntime"]["backend"] == "onnxruntime"
    assert told["onnxruntime"]["accuracy"] == told["native"]["accuracy"]
    assert told["native"]["accuracy"][0]["overall"] > 0.9


class Asked:
    """A source of questions alone."""

    def __init__(self, rows: list[list[tuple[str, str]]]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def record(self, index: int):
        from tokenfuse_training.data.record import Answer, Record

        return Record(
            key=str(index),
            image=np.zeros((1, 1, 3), np.uint8),
            questions=tuple(
                Question(id=f"{index}/{k}", text=text, answers=(Answer(text=answer),), kind="k")
                for k, (text, answer) in enumerate(self.rows[index])
            ),
        )


def test_guesses_without_looking_or_reading():
    train = Asked([[("what?", "red"), ("is it?", "yes")], [("what?", "red"), ("is it?", "no")],
                   [("is it?", "no"), ("how many?", "no")]])  # fmt: skip
    test = Asked([[("What?", "red"), ("is it?", "no"), ("where?", "no"), ("how many?", "two")]])
    # By text: red, no, and of the family the most frequent (no) for a new one; by all: no.
    assert guessed("gqa", train, test) == [
        ("question only: the most frequent answer to the same text", 0.75),
        ("image only: the most frequent answer of all", 0.5),
    ]
    assert guessed("vqa", train, test) == []
