"""A model that was loaded before a fork answers in the child as it does in the parent."""

from __future__ import annotations

import multiprocessing
import signal
import threading

import numpy as np
import pytest

import tokenfuse_sdk as tf
from tokenfuse_sdk import _native
from tokenfuse_sdk.sizes import named_config
from tokenfuse_sdk.weights import expected_tensors

# A child that hangs must not hang the tests. A busy machine takes a second or two.
_TIMEOUT_S = 60
_QUESTION = "how many red circles are there?"


@pytest.fixture(scope="module")
def engine() -> _native.CpuEngine:
    config = named_config("nano")
    rng = np.random.default_rng(0)
    weights = {
        name: np.asarray(0.1 * rng.standard_normal(shape), np.float32)
        for name, shape in expected_tensors(config).items()
    }
    return _native.CpuEngine(config.to_dict(), weights, num_threads=2)


def _logits(engine: _native.CpuEngine) -> np.ndarray:
    rng = np.random.default_rng(1)
    image = rng.uniform(-1, 1, (64, 64, 3)).astype(np.float32)
    text, answer = (rng.integers(2, 90, n).astype(np.int32) for n in (9, 6))
    return engine.logits(engine.encode_image(image, 16), text, answer)


def in_child(call, *arguments):
    """What the call returns in a forked process; fails where that does not end."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def work() -> None:
        # Ends a child that hangs, and a child of it too.
        signal.alarm(_TIMEOUT_S)
        sender.send(call(*arguments))

    child = context.Process(target=work)
    child.start()
    sender.close()
    try:
        assert receiver.poll(_TIMEOUT_S), "the child does not answer"
        result = receiver.recv()
        child.join(_TIMEOUT_S)
        assert child.exitcode == 0
        return result
    finally:
        child.kill()
        child.join()


def test_a_forked_engine_gives_the_same_bits(engine):
    # Before any loop in the parent, and after some.
    first = in_child(_logits, engine)
    want = _logits(engine)
    np.testing.assert_array_equal(first, want)
    np.testing.assert_array_equal(in_child(_logits, engine), want)
    np.testing.assert_array_equal(_logits(engine), want)


def test_a_child_of_a_child(engine):
    want = _logits(engine)
    np.testing.assert_array_equal(in_child(in_child, _logits, engine), want)
    np.testing.assert_array_equal(in_child(lambda: in_child(_logits, engine)), want)


def test_a_fork_in_the_middle_of_a_call(engine):
    want = _logits(engine)
    stopped = threading.Event()

    def work() -> None:
        while not stopped.is_set():
            _logits(engine)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        for _ in range(5):
            np.testing.assert_array_equal(in_child(_logits, engine), want)
    finally:
        stopped.set()
        worker.join()


def test_many_threads_of_a_child_take_turns(engine):
    want = _logits(engine)

    def work() -> list[np.ndarray]:
        results: list[np.ndarray] = []
        threads = [
            threading.Thread(target=lambda: results.append(_logits(engine))) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results

    results = in_child(work)
    assert len(results) == 4
    for got in results:
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("used", [False, True])
def test_a_model_answers_and_closes_in_a_child(used):
    picture = tf.example_images()[0]

    def ask(model: tf.Model) -> tuple[str, float]:
        answer = model.answer(picture, _QUESTION)
        return answer.text, answer.confidence

    def ask_and_close(model: tf.Model) -> tuple[str, float]:
        with model:
            return ask(model)

    with tf.load("scenes-nano", device="cpu", num_threads=2) as model:
        want = ask(model) if used else None
        got = in_child(ask_and_close, model)
        assert got == (want or ask(model))
        # One that the child never asks.
        in_child(model.close)
