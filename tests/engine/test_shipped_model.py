"""The shipped model on 2,000 unseen questions: the engine says what the reference says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import tokenfuse_sdk as tf
from tokenfuse_sdk.bundle import read_bundle
from tokenfuse_sdk.shipped import find_bundle
from tokenfuse_training.data.collate import normalise
from tokenfuse_training.data.scenes import scene_examples
from tokenfuse_training.model import model_from_weights

NUM_QUESTIONS = 2_000
# Not the recipe's seed: neither training nor the model card has seen these scenes.
SEED = 77


@pytest.fixture(scope="module")
def asked():
    """(picture, questions) of as many scenes as it takes."""
    found, count, index = [], 0, 0
    while count < NUM_QUESTIONS:
        one = scene_examples("test", index, seed=SEED, num_questions=16)
        questions = one.questions[: NUM_QUESTIONS - count]
        found.append((one.image_HWC, questions))
        count += len(questions)
        index += 1
    return found


@pytest.mark.parametrize("token_budget", [4, 16])
def test_engine_and_reference_answer_alike_and_right(asked, token_budget):
    bundle = read_bundle(find_bundle("scenes-nano"))
    reference = model_from_weights(bundle.config, dict(bundle.weights))
    differ, right, total = [], 0, 0
    by_family: dict[str, list[bool]] = {}
    with tf.load("scenes-nano", precision="fp32", token_budget=token_budget) as model:
        for image, questions in asked:
            tokens = model.encode_image(image)
            ids = [bundle.tokenizer.encode(f"answer: {q.text}", 64).tolist() for q in questions]
            width = max(map(len, ids))
            text_QL = torch.tensor([row + [0] * (width - len(row)) for row in ids])
            with torch.no_grad():
                f_BND = reference.encode_image(
                    normalise(torch.from_numpy(image[None]), bundle.preprocess), token_budget
                )
                f_QND = f_BND.expand(len(questions), -1, -1)
                best_QA = reference.generate(f_QND, text_QL, token_budget).numpy()
            for question, row in zip(questions, best_QA, strict=True):
                answer = model.answer(tokens, question.text).text
                expected = bundle.tokenizer.decode(row)
                if answer != expected:
                    differ.append((question.text, answer, expected))
                by_family.setdefault(question.family, []).append(answer == question.answer)
                right += answer == question.answer
                total += 1
    assert total == NUM_QUESTIONS
    assert not differ, differ[:5]
    if token_budget == 16:
        assert right / total >= 0.95
        assert min(map(np.mean, by_family.values())) >= 0.85


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_a_lower_precision_answers_as_fp32_does(precision: str) -> None:
    same, right, total, index = 0, 0, 0, 0
    with (
        tf.load("scenes-nano", precision="fp32") as full,
        tf.load("scenes-nano", precision=precision) as small,
    ):
        assert (small.precision, small.info.precision) == (precision, precision)
        while total < NUM_QUESTIONS:
            one = scene_examples("test", index, seed=SEED + 1, num_questions=16)
            tokens = [model.encode_image(one.image_HWC) for model in (full, small)]
            for question in one.questions:
                want = full.answer(tokens[0], question.text).text
                got = small.answer(tokens[1], question.text).text
                same, right, total = (
                    same + (got == want),
                    right + (got == question.answer),
                    total + 1,
                )
            index += 1
    assert same / total >= 0.995
    assert right / total >= 0.95
