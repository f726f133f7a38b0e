"""The front door on a small model with random weights: its ways, and its refusals."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import pickle
import threading

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

import tokenfuse_sdk as tf
from tokenfuse_sdk import _native, errors


@pytest.fixture
def model(bundle):
    with tf.load(bundle) as model:
        yield model


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (40, 30, 3), dtype=np.uint8)


def test_an_answer_says_all_about_itself(model, image):
    answer = model.answer(image, "is there a red zebra?")
    assert answer.question == "is there a red zebra?"
    assert answer.token_budget == 8
    assert 0.0 <= answer.confidence <= 1.0
    assert 1 <= answer.num_tokens <= 32
    assert answer.complete or answer.num_tokens == 32
    assert answer.unknown_words == ("zebra",)
    times = answer.timings
    parts = times.preprocess_ms + times.encode_image_ms + times.generate_ms
    assert 0 < parts <= times.total_ms
    assert json.loads(json.dumps(answer.to_dict()))["text"] == answer.text
    with pytest.raises(dataclasses.FrozenInstanceError):
        answer.text = "no"


def test_confidence_is_the_probability_of_the_answer_written():
    # Not the model of random weights: it hardly ever ends an answer.
    with tf.load("scenes-nano") as model:
        for question in ("is there a star?", "how many red circles are there?", "what is red?"):
            answer = model.answer(tf.example_images()[0], question)
            assert answer.complete
            (score,) = model.score(tf.example_images()[0], question, [answer.text])
            assert math.exp(score.log_prob) == pytest.approx(answer.confidence, rel=1e-3)


def test_tokens_answer_as_the_picture_does(model, image):
    tokens = model.encode_image(image)
    assert tokens.num_tokens == 8
    assert tokens.num_bytes == 8 * 32 * 4
    from_picture = model.answer(image, "is there a star?")
    from_tokens = model.answer(tokens, "is there a star?")
    assert from_tokens.text == from_picture.text
    assert from_tokens.confidence == from_picture.confidence
    assert from_tokens.timings.encode_image_ms == 0.0
    assert model.caption(tokens).text == model.caption(image).text
    assert model.generate(tokens, "answer: is there a star?").text == from_picture.text


def test_the_budget_is_a_dial_and_a_prefix(model, bundle, image):
    full = model.encode_image(image)
    for budget in (2, 4, 8):
        own = model.encode_image(image, token_budget=budget)
        assert own.num_tokens == budget
        np.testing.assert_allclose(own.f_ND, full.f_ND[:budget], atol=1e-6)
        a = model.answer(full, "is there a star?", token_budget=budget)
        b = model.answer(own, "is there a star?")
        assert a.token_budget == b.token_budget == budget
        assert a.text == b.text
        with tf.load(bundle, token_budget=budget) as other:
            assert other.token_budget == budget
            assert other.answer(image, "is there a star?").text == a.text
            assert other.answer(full, "is there a star?").token_budget == budget
    few = model.encode_image(image, token_budget=2)
    with pytest.raises(errors.TokenBudgetError, match="hold 2"):
        model.answer(few, "is there a star?", token_budget=8)


@pytest.mark.parametrize("budget", [0, 3, 16, -2, 4.0, "4", True])
def test_other_budgets_are_refused(model, bundle, image, budget):
    with pytest.raises(errors.TokenBudgetError, match=r"\[2, 4, 8\]"):
        model.answer(image, "is there a star?", token_budget=budget)
    with pytest.raises(errors.TokenBudgetError):
        model.encode_image(image, token_budget=budget)
    with pytest.raises(errors.TokenBudgetError):
        tf.load(bundle, token_budget=budget)


def test_tokens_are_saved_and_loaded(model, image, tmp_path):
    tokens = model.encode_image(image)
    path = tmp_path / "image.safetensors"
    tokens.save(path)
    again = tf.ImageTokens.load(path)
    np.testing.assert_array_equal(again.f_ND, tokens.f_ND)
    assert (again.model_name, again.weights_sha256) == (tokens.model_name, tokens.weights_sha256)
    assert (
        model.answer(again, "is there a star?").text == model.answer(image, "is there a star?").text
    )
    assert list(load_file(path)) == ["image_tokens"]
    assert [p.name for p in tmp_path.iterdir() if p.suffix] == [path.name]
    with pytest.raises(errors.OutputExistsError):
        tokens.save(path)
    tokens.save(path, overwrite=True)


def test_tokens_cannot_be_changed(model, image):
    tokens = model.encode_image(image)
    with pytest.raises(ValueError, match="read-only"):
        tokens.f_ND[0] = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        tokens.model_name = "x"


def test_damaged_and_foreign_tokens_are_refused(model, image, tmp_path):
    path = tmp_path / "t.safetensors"
    tokens = model.encode_image(image)
    tokens.save(path)
    data = path.read_bytes()
    for bad in (b"", data[:50], data[:-4], data + b"x", b"\xff" * 100):
        path.write_bytes(bad)
        with pytest.raises(errors.TokensError):
            tf.ImageTokens.load(path)
    save_file({"image_tokens": np.full((2, 4), np.nan, np.float32)}, path)
    with pytest.raises(errors.TokensError, match="NaN"):
        tf.ImageTokens.load(path)
    save_file({"image_tokens": np.zeros((2, 4), np.float32)}, path)
    with pytest.raises(errors.TokensError, match="does not hold image tokens"):
        tf.ImageTokens.load(path)
    with pytest.raises(errors.TokensError, match="float64"):
        tf.ImageTokens(f_ND=np.zeros((2, 4)), model_name="", weights_sha256="")
    foreign = dataclasses.replace(tokens, weights_sha256="0" * 64)
    with pytest.raises(errors.TokensError, match="other weights"):
        model.answer(foreign, "is there a star?")


@pytest.mark.parametrize("shape", [(3, 32), (1, 32), (9, 32), (100, 32), (8, 31), (8, 33), (2, 1)])
def test_tokens_of_a_shape_that_the_model_does_not_make(model, image, shape):
    odd = dataclasses.replace(model.encode_image(image), f_ND=np.zeros(shape, np.float32))
    match = rf"are {shape[0]} of width {shape[1]}; .* one of \[2, 4, 8\], of width 32"
    for call in (
        lambda: model.answer(odd, "is there a star?"),
        lambda: model.answer(odd, "is there a star?", token_budget=2),
        lambda: model.answer_many(odd, ["is there a star?"]),
        lambda: model.caption(odd),
        lambda: model.score(odd, "is there a star?", ["yes"]),
    ):
        with pytest.raises(errors.TokensError, match=match):
            call()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_in_place_of_a_file_does_not_block(model, tmp_path):
    pipe = tmp_path / "pipe.safetensors"
    os.mkfifo(pipe)
    # Both would wait for a writer, who never comes, on a thread that nobody waits for.
    found: list[type[BaseException]] = []

    def read(call) -> None:
        try:
            call(pipe)
        except Exception as error:
            found.append(type(error))

    for call in (tf.ImageTokens.load, model.encode_image):
        thread = threading.Thread(target=read, args=(call,), daemon=True)
        thread.start()
        thread.join(30)
    assert found == [errors.TokensError, errors.ImageError]


def test_many_questions_of_one_picture_encode_it_once(model, image, monkeypatch):
    calls = []
    runtime = model._runtime
    encode = runtime.encode_image
    monkeypatch.setattr(
        type(runtime), "encode_image", lambda self, *a: calls.append(1) or encode(*a)
    )
    questions = ["is there a star?", "how many circles are there?", "what color is the star?"]
    answers = model.answer_many(image, questions)
    assert len(calls) == 1
    assert [a.question for a in answers] == questions
    assert [a.timings.encode_image_ms > 0 for a in answers] == [True, False, False]
    other = image[::-1].copy()
    paired = model.answer_many([image, other, image], questions)
    assert len(calls) == 3
    assert paired[2].text == answers[2].text
    assert paired[1].text == model.answer(other, questions[1]).text
    assert model.answer_many([], []) == []


def test_many_questions_that_do_not_fit(model, image):
    with pytest.raises(errors.QuestionError, match="2 images and 1 questions"):
        model.answer_many([image, image], ["is there a star?"])
    with pytest.raises(errors.QuestionError, match="answer\\(\\)"):
        model.answer_many(image, "is there a star?")


def test_scores_of_a_closed_list(model, image):
    scores = model.score(image, "is there a star?", ["yes", "no", "maybe"])
    assert [s.text for s in scores] == ["yes", "no", "maybe"]
    assert sum(s.probability for s in scores) == pytest.approx(1.0)
    assert all(s.log_prob <= 0 for s in scores)
    best = max(scores, key=lambda s: s.log_prob)
    assert best.probability == max(s.probability for s in scores)
    generator = (text for text in ["yes", "no"])
    for bad in ([], "yes", b"yes", 7, None, np.array(["yes"]), generator, [""], ["red " * 40]):
        with pytest.raises(errors.QuestionError):
            model.score(image, "is there a star?", bad)


def test_the_map_of_what_was_merged(model, image):
    token_map = model.token_map(image)
    assert (token_map.num_tokens, token_map.grid_size) == (8, 4)
    np.testing.assert_allclose(token_map.weights.sum(axis=(1, 2)), 1.0, atol=1e-5)
    assert not token_map.weights.flags.writeable


@pytest.mark.parametrize("question", ["", "   ", "\n"])
def test_empty_questions(model, image, question):
    with pytest.raises(errors.QuestionError, match="empty"):
        model.answer(image, question)


@pytest.mark.parametrize(
    ("question", "match"),
    [
        ("red " * 100, "tokens"),
        ("x" * 10**6, "characters"),
        ("a\0b", "character"),
        (None, "str"),
        (b"is there?", "str"),
        (["is there?"], "str"),
    ],
)
def test_questions_that_cannot_be_asked(model, image, question, match):
    with pytest.raises(errors.QuestionError, match=match):
        model.answer(image, question)


@pytest.mark.parametrize("max_tokens", [0, -1, 33, 1.5, True])
def test_answer_lengths_out_of_range(model, image, max_tokens):
    with pytest.raises(errors.ConfigError, match="1 to 32"):
        model.answer(image, "is there a star?", max_tokens=max_tokens)


def test_short_answers_say_that_they_are_cut(model, image):
    for answer in (model.caption(image, max_tokens=1), model.caption(image)):
        assert answer.complete or answer.num_tokens in (1, 32)
    assert model.caption(image, max_tokens=1).num_tokens == 1


def test_pictures_that_cannot_be_seen(model, tmp_path):
    for bad in (b"nonsense", tmp_path / "none.png", np.zeros((3, 4)), 7):
        with pytest.raises(errors.ImageError):
            model.answer(bad, "is there a star?")


def test_every_way_to_give_a_picture(model, image, tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(image).save(path)
    want = model.encode_image(image).f_ND
    for source in (path, str(path), path.read_bytes(), Image.fromarray(image)):
        np.testing.assert_array_equal(model.encode_image(source).f_ND, want)


def test_a_device_that_is_not_there_says_why(bundle):
    with pytest.raises(errors.DeviceError, match="without a CUDA engine"):
        tf.load(bundle, device="cuda")
    with pytest.raises(errors.DeviceError, match="choose one of auto, cpu, cuda"):
        tf.load(bundle, device="tpu")
    with pytest.raises(errors.PrecisionError, match="fp32"):
        tf.load(bundle, precision="int4")
    for num_threads in (0, -3, 1.5, 10**9, "2", True, np.True_, np.float32(2), np.array([2])):
        with pytest.raises(errors.ConfigError, match="num_threads"):
            tf.load(bundle, num_threads=num_threads)


@pytest.mark.parametrize("value", ["sse9", "AVX2", "avx512 ", "scalar,avx2"])
def test_an_unknown_instruction_set_in_the_environment(bundle, monkeypatch, value):
    monkeypatch.setenv("TOKENFUSE_FORCE_ISA", value)
    with pytest.raises(errors.ConfigError, match="TOKENFUSE_FORCE_ISA") as caught:
        tf.load(bundle)
    text = str(caught.value)
    assert f"TOKENFUSE_FORCE_ISA={value} is not known" in text
    assert f"choose one of {', '.join(_native.available_isas())}, or unset it" in text
    assert "cannot run" not in text


def test_an_instruction_set_that_is_not_here(bundle, monkeypatch):
    absent = {"scalar", "avx2", "avx512"} - set(_native.available_isas())
    for name in absent:
        monkeypatch.setenv("TOKENFUSE_FORCE_ISA", name)
        with pytest.raises(errors.ConfigError, match=f"={name} is not available on this machine"):
            tf.load(bundle)
    for name in _native.available_isas():
        monkeypatch.setenv("TOKENFUSE_FORCE_ISA", name)
        with tf.load(bundle) as model:
            assert model.info.isa == name


def test_what_was_chosen_can_be_read(bundle):
    with tf.load(bundle, device="auto", num_threads=1) as model:
        assert model.device == "cpu"
        assert model.precision == "fp32"
        assert model.info.num_threads == 1
        assert "auto" in model.info.device_reason
        assert model.info.isa in _native.available_isas()
        assert model.info.num_parameters > 10_000
        assert set(model.memory_report()) == {"weights_bytes", "workspace_bytes"}
        assert "random-small" in repr(model)
        assert model.card.startswith("---")
        json.dumps(model.info.to_dict())


def test_a_cpu_needs_no_warming_up(model):
    model.warm_up()
    model.warm_up(batch=8, token_budget=4)
    with pytest.raises(errors.ConfigError, match="batch=0"):
        model.warm_up(batch=0)
    with pytest.raises(errors.TokenBudgetError):
        model.warm_up(token_budget=5)


def test_a_model_that_is_not_there(tmp_path):
    with pytest.raises(errors.BundleMissingFileError, match="scenes-nano"):
        tf.load("no-such-model")
    with pytest.raises(FileNotFoundError):
        tf.load(tmp_path / "none")


def test_a_closed_model_says_so(bundle, image):
    with tf.load(bundle) as model:
        pass
    for call in (
        lambda: model.answer(image, "is there a star?"),
        lambda: model.encode_image(image),
        lambda: model.info,
        model.memory_report,
        model.warm_up,
    ):
        with pytest.raises(errors.ModelClosedError, match="closed"):
            call()
    model.close()


def test_many_threads_get_the_answers_of_one(model):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    want = [model.answer(image, "is there a star?").confidence for image in images]
    got: dict[int, list[float]] = {}

    def work(index: int) -> None:
        got[index] = [model.answer(images[index], "is there a star?").confidence for _ in range(10)]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == {i: [want[i]] * 10 for i in range(6)}


def test_public_names_are_few_and_there():
    assert len(tf.__all__) <= 13
    for name in tf.__all__:
        assert getattr(tf, name) is not None
    assert set(tf.__all__) <= set(dir(tf))
    with pytest.raises(AttributeError, match="nothing"):
        tf.nothing  # noqa: B018


def test_weights_that_overflow_are_told(bundle_parts, tmp_path):
    shipped = tf.bundle.read_bundle(tf.shipped.find_bundle("scenes-nano"))
    weights = {name: np.full_like(array, 6e4) for name, array in shipped.weights.items()}
    parts = {**bundle_parts, "config": shipped.config, "preprocess": shipped.preprocess}
    tf.bundle.write_bundle(tmp_path / "scenes-nano", **{**parts, "weights": weights})
    with (
        tf.load(tmp_path / "scenes-nano") as model,
        pytest.raises(errors.NotFiniteError, match="NaN or infinity"),
    ):
        model.answer(tf.example_images()[0], "is there a star?")


def test_words_of_a_candidate_that_nobody_knows_are_named(model, image):
    scores = model.score(image, "is there a star?", ["yes", "zebra"])
    assert [score.unknown_words for score in scores] == [(), ("zebra",)]
    with pytest.raises(errors.QuestionError, match="the candidate '' is no text"):
        model.score(image, "is there a star?", ["yes", ""])


@pytest.mark.parametrize("kind", [np.int64, np.int8, np.uint16, np.array])
def test_integers_may_be_of_any_kind(bundle, image, kind):
    with tf.load(bundle, num_threads=kind(1), token_budget=kind(4)) as model:
        assert (model.info.num_threads, model.token_budget) == (1, 4)
        json.dumps(model.info.to_dict())
        assert model.encode_image(image, token_budget=kind(2)).num_tokens == 2
        answer = model.answer(image, "is there a star?", token_budget=kind(2), max_tokens=kind(1))
        assert (answer.token_budget, answer.num_tokens) == (2, 1)
        json.dumps(answer.to_dict())


@pytest.mark.parametrize("budget", [np.True_, np.float32(4), np.array([4]), np.array(4.0)])
def test_what_is_no_integer_is_no_budget_and_no_length(model, image, budget):
    with pytest.raises(errors.TokenBudgetError, match=r"\[2, 4, 8\]"):
        model.encode_image(image, token_budget=budget)
    with pytest.raises(errors.ConfigError, match="1 to 32"):
        model.caption(image, max_tokens=budget)


def test_a_model_is_not_pickled_and_says_why(model):
    with pytest.raises(TypeError, match="load it there"):
        pickle.dumps(model)


@pytest.mark.parametrize("name", [None, 5, b"scenes-nano", ""])
def test_what_names_no_model(name):
    with pytest.raises(errors.ConfigError, match="need the name"):
        tf.load(name)


def test_a_folder_that_is_no_bundle_keeps_its_files(tmp_path):
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(errors.BundleMissingFileError, match=r"is no bundle: it has no manifest"):
        tf.load(tmp_path)


@pytest.mark.parametrize("source", ["", "https://example.com/a.png"])
def test_paths_that_are_none(model, source):
    with pytest.raises(errors.ImageError, match=r"empty|nothing is fetched"):
        model.encode_image(source)
