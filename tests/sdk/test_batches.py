"""Several at once give what one after the other gives, and the same errors."""

from __future__ import annotations

import numpy as np
import pytest

import tokenfuse_sdk as tf
from tokenfuse_sdk import errors
from tokenfuse_sdk.runtime import BatchRuntime

QUESTIONS = ("is there a star?", "what is red?", "how many circles?", "is there a 7?", "what is 3?")


class InTurns:
    """The CPU's runtime as one of batches of 2, and what it was asked."""

    max_batch = 2

    def __init__(self, runtime):
        self._runtime = runtime
        self.calls = []

    def __getattr__(self, name):
        return getattr(self._runtime, name)

    def record(self, batch, token_budget):
        self.calls.append(("record", batch, token_budget))

    def encode_images(self, images_BHW3, token_budget):
        self.calls.append(("encode", len(images_BHW3), token_budget))
        return np.stack([self._runtime.encode_image(x, token_budget) for x in images_BHW3])

    def generate_many(self, f_BND, texts, max_tokens):
        self.calls.append(("generate", len(texts), f_BND.shape[1]))
        return [
            self._runtime.generate(f_ND, text, max_tokens)
            for f_ND, text in zip(f_BND, texts, strict=True)
        ]

    def answer(self, image_HW3, token_budget, text_ids, max_tokens):
        self.calls.append(("answer", 1, token_budget))
        f_ND = self._runtime.encode_image(image_HW3, token_budget)
        return f_ND, *self._runtime.generate(f_ND, text_ids, max_tokens)


@pytest.fixture
def single(bundle):
    with tf.load(bundle, device="cpu", precision="fp32") as model:
        yield model


@pytest.fixture
def batched(bundle):
    with tf.load(bundle, device="cpu", precision="fp32") as model:
        model._runtime = model._batched = InTurns(model._runtime)
        assert isinstance(model._batched, BatchRuntime)
        yield model


@pytest.fixture
def images():
    return list(np.random.default_rng(3).integers(0, 256, (3, 40, 30, 3), dtype=np.uint8))


def facts_of(answers):
    return [(a.question, a.text, a.confidence, a.token_budget, a.num_tokens) for a in answers]


def test_pictures_and_kept_tokens_of_any_budget(single, batched, images):
    kept = [single.encode_image(images[0], token_budget=n) for n in (2, 8)]
    sources = [images[1], kept[0], images[2], kept[1], images[1]]
    want = [single.answer(source, text) for source, text in zip(sources, QUESTIONS, strict=True)]
    got = batched.answer_many(sources, QUESTIONS)
    assert facts_of(got) == facts_of(want) == facts_of(single.answer_many(sources, QUESTIONS))
    assert [answer.token_budget for answer in got] == [8, 2, 8, 8, 8]
    # A picture that repeats is encoded once; budgets are not mixed.
    assert batched._batched.calls == [
        ("encode", 2, 8),
        ("generate", 1, 2),
        ("generate", 2, 8),
        ("generate", 2, 8),
    ]
    assert got[0].timings.encode_image_ms > 0
    assert got[4].timings.encode_image_ms == got[1].timings.encode_image_ms == 0
    for answer in got:
        times = answer.timings
        parts = times.preprocess_ms + times.encode_image_ms + times.generate_ms
        assert 0 < parts <= times.total_ms


def test_one_picture_at_once(single, batched, images):
    for options in ({}, {"token_budget": 2}, {"max_tokens": 1}):
        want = single.answer(images[0], QUESTIONS[0], **options)
        assert facts_of([batched.answer(images[0], QUESTIONS[0], **options)]) == facts_of([want])
    assert [call[0] for call in batched._batched.calls] == ["answer"] * 3


def test_no_questions_give_no_answers(single, batched, images):
    for model in (single, batched):
        assert model.answer_many(images[0], []) == []
        assert model.answer_many([], []) == []
        assert model.answer_many([], [], token_budget=3) == []
        with pytest.raises(errors.ConfigError, match="max_tokens"):
            model.answer_many([], [], max_tokens=0)


def test_the_same_errors(single, batched, images):
    small = single.encode_image(images[0], token_budget=2)
    other = tf.ImageTokens(f_ND=small.f_ND, model_name="other", weights_sha256="0" * 64)
    for sources, texts, options, error in (
        (images[0], ["what is red?", ""], {}, errors.QuestionError),
        ([images[0], b"nonsense"], QUESTIONS[:2], {}, errors.ImageError),
        ([images[0], other], QUESTIONS[:2], {}, errors.TokensError),
        ([small, images[0]], QUESTIONS[:2], {"token_budget": 8}, errors.TokenBudgetError),
        ([small, small], QUESTIONS[:2], {"token_budget": 3}, errors.TokenBudgetError),
        (images[0], QUESTIONS[:2], {"token_budget": 3}, errors.TokenBudgetError),
        (images[0], QUESTIONS[:2], {"max_tokens": 33}, errors.ConfigError),
        (images[:2], QUESTIONS[:1], {}, errors.QuestionError),
    ):
        told = []
        for model in (single, batched):
            with pytest.raises(error) as caught:
                model.answer_many(sources, texts, **options)
            told.append(str(caught.value))
        assert told[0] == told[1]


@pytest.mark.parametrize("spoilt", ["encode_image", "generate"])
def test_what_is_not_finite_is_refused_by_both(single, batched, images, monkeypatch, spoilt):
    told = []
    for model in (single, batched):
        runtime = getattr(model._runtime, "_runtime", model._runtime)
        right = getattr(runtime, spoilt)

        def wrong(*args, right=right):
            result = right(*args)
            floats = result[1] if isinstance(result, tuple) else result
            floats[0] = np.nan
            return result

        monkeypatch.setattr(runtime, spoilt, wrong)
        for call in (
            lambda model=model: model.answer(images[0], QUESTIONS[0]),
            lambda model=model: model.answer_many(images, QUESTIONS[:3]),
        ):
            with pytest.raises(errors.TokenfuseError) as caught:
                call()
            told.append((type(caught.value), str(caught.value)))
    assert len(set(told)) == 1


def test_warming_up_records_for_the_batch(batched):
    batched.warm_up()
    batched.warm_up(batch=2, token_budget=4)
    assert batched._batched.calls == [("record", 1, 8), ("record", 2, 4)]
    with pytest.raises(errors.ConfigError, match="batch=3"):
        batched.warm_up(batch=3)
