"""The three graphs as a runtime: against PyTorch and the native engine, every length and budget.

Shapes: N image tokens, D fusion width, A answer ids, V vocabulary.
"""

from __future__ import annotations

import dataclasses
import gc

import numpy as np
import pytest
import torch

from tokenfuse_sdk import errors, ops
from tokenfuse_sdk.bundle import read_bundle
from tokenfuse_sdk.graphs import text_lengths
from tokenfuse_sdk.runtime import BatchRuntime, Capabilities, choose_precision, open_bundle, place
from tokenfuse_sdk.runtime.graphs import GraphRuntime
from tokenfuse_sdk.runtime.graphs.greedy import log_probs_of, top_ids
from tokenfuse_sdk.runtime.onnxruntime import OnnxRuntimeExecutor

pytest.importorskip("onnxruntime", reason="needs the package onnxruntime")

# float32 sums in another order; logits and tokens of the random model are of size 1 to 30.
BOUND = 1e-4
# Each padded length, filled and by one id short of it; the shortest text is the end alone.
NUM_IDS = (1, 2, 15, 16, 17, 32, 33, 64)


@pytest.fixture(scope="module")
def bundle(exported_small):
    return read_bundle(exported_small)


@pytest.fixture(scope="module")
def reference(exported_small):
    from tokenfuse_export.reference import load_reference

    return load_reference(exported_small).eval()


@pytest.fixture(scope="module")
def native(bundle):
    return open_bundle(bundle, place("cpu", "fp32"))


def graphs_of(bundle):
    placement = choose_precision(place("cpu", num_threads=2, backend="onnxruntime"), bundle)
    return open_bundle(bundle, placement)


@pytest.fixture(scope="module")
def graphs(bundle):
    return graphs_of(bundle)


@pytest.fixture(scope="module")
def images(bundle):
    side = bundle.config.vision.image_size
    return np.random.default_rng(1).uniform(-1, 1, (5, side, side, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def texts(bundle):
    rng = np.random.default_rng(2)
    vocab = bundle.config.text.vocab_size
    return [np.array([*rng.integers(2, vocab, n - 1), 1], np.int32) for n in NUM_IDS]


def test_the_lengths_asked_for_are_those_around_the_padded_ones(bundle):
    assert text_lengths(bundle.config) == (16, 32, 64)


def test_image_tokens_of_every_budget(bundle, graphs, native, reference, images, check):
    assert isinstance(graphs, BatchRuntime)
    full = graphs.encode_images(images, 8)
    for n in bundle.config.fusion.token_budgets:
        with torch.no_grad():
            want = reference.encode_image(torch.from_numpy(images), n).numpy()
        got = graphs.encode_images(images, n)
        check(got, want, BOUND)
        np.testing.assert_array_equal(got, full[:, :n])
        for i, image in enumerate(images):
            check(graphs.encode_image(image, n), want[i], BOUND)
            f_ND, map_NS = graphs.encode_image_with_map(image, n)
            check(f_ND, want[i], BOUND)
            check(map_NS, native.encode_image_with_map(image, n)[1], BOUND)


def test_fused_tokens_and_logits_of_every_length(bundle, graphs, reference, images, texts, check):
    answer = np.array([7, 5, 9, 1], np.int32)
    fed = torch.tensor([[0, 7, 5, 9]])
    for n in bundle.config.fusion.token_budgets:
        f_ND = graphs.encode_image(images[0], n)
        for text_ids in texts:
            with torch.no_grad():
                f_BND, ids = torch.from_numpy(f_ND)[None], torch.from_numpy(text_ids)[None].long()
                fused = reference.fuse(f_BND, ids, n)[0]
                logits = reference.decode(fed, fused, None)
            check(graphs.fuse(f_ND, text_ids), fused[0].numpy(), BOUND)
            check(graphs.logits(f_ND, text_ids, answer), logits[0].numpy(), BOUND)
            check(graphs.logits(f_ND, text_ids, answer[:1]), logits[0, :1].numpy(), BOUND)


def test_answers_are_those_of_the_native_engine(bundle, graphs, native, images, texts, check):
    most = bundle.config.decoder.max_tokens
    for n, image in zip(bundle.config.fusion.token_budgets, images, strict=False):
        f_ND = native.encode_image(image, n)
        for text_ids in texts:
            for max_tokens in (1, 5, most):
                ids, log_probs = graphs.generate(f_ND, text_ids, max_tokens)
                want_ids, want = native.generate(f_ND, text_ids, max_tokens)
                assert (ids.dtype, ids.tolist()) == (np.int32, want_ids.tolist())
                check(log_probs, want, BOUND)
            # Step by step with a cache, and all at once.
            at_once = graphs.logits(f_ND, text_ids, ids)
            assert at_once.argmax(-1).tolist() == ids.tolist()
            check(log_probs, torch.tensor(at_once).log_softmax(-1).max(-1).values.numpy(), BOUND)


def test_scores_of_candidates_of_any_length(graphs, native, images, texts, check):
    f_ND = native.encode_image(images[0], 8)
    candidates = [np.array(ids, np.int32) for ids in ([1], [5, 1], [7, 8, 9, 1], [*[4] * 31, 1])]
    for text_ids in texts:
        want = native.score(f_ND, text_ids, candidates)
        check(graphs.score(f_ND, text_ids, candidates), want, 31 * BOUND)


def test_a_picture_and_its_question_in_one_call(graphs, images, texts, check):
    for n in (2, 8):
        f_ND, ids, log_probs = graphs.answer(images[0], n, texts[2], 6)
        np.testing.assert_array_equal(f_ND, graphs.encode_image(images[0], n))
        want_ids, want = graphs.generate(f_ND, texts[2], 6)
        assert ids.tolist() == want_ids.tolist()
        check(log_probs, want, BOUND)


@pytest.mark.parametrize("batches", [range(1, 9), (1, 4, 8), (8,)])
def test_members_of_a_batch_do_not_depend_on_each_other(
    bundle, graphs, images, texts, check, batches
):
    executor, capabilities = graphs._executor, graphs.capabilities
    many = GraphRuntime(bundle.config, _NotClosed(executor), capabilities, batches=batches)
    assert many.max_batch == 8
    check(many.encode_images(images[:3], 4), graphs.encode_images(images[:3], 4), BOUND)
    f_BND = graphs.encode_images(images[np.arange(len(texts)) % len(images)], 4)
    for order in (range(len(texts)), (7, 0, 3), (2,)):
        got = many.generate_many(f_BND[list(order)], [texts[i] for i in order], 6)
        for i, (ids, log_probs) in zip(order, got, strict=True):
            want_ids, want = graphs.generate(f_BND[i], texts[i], 6)
            assert ids.tolist() == want_ids.tolist()
            check(log_probs, want, BOUND)
    asked = f_BND[0], texts[0], [texts[2]]
    check(many.score(*asked), graphs.score(*asked), BOUND)


class _NotClosed:
    """An executor that outlives one of its runtimes."""

    def __init__(self, executor):
        self.put, self.get, self.run = executor.put, executor.get, executor.run

    def close(self):
        pass


def test_recording_takes_every_batch_and_budget(bundle, graphs):
    for n in bundle.config.fusion.token_budgets:
        graphs.record(3, n)


def test_the_next_id_is_the_native_engines():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((64, 17)).astype(np.float32)
    rows[:8] = np.round(rows[:8])  # Ties.
    rows[8:16, rng.integers(0, 17, 8)] = np.nan
    rows[16:20, 3] = np.inf
    rows[20:24, ::2] = -np.inf
    rows[24] = -np.inf
    rows[25] = np.nan
    rows[26] = 7
    ids = top_ids(rows)
    got = log_probs_of(rows, ids)
    finite = np.isfinite(rows).all(-1)
    np.testing.assert_array_equal(ids[finite], rows[finite].argmax(-1))
    assert ((ids >= 0) & (ids < 17)).all()
    np.testing.assert_array_equal(ids, ops.log_sum_exp(rows)[1])
    x = torch.from_numpy(rows).double()
    want = x.log_softmax(-1).numpy()[np.arange(len(rows)), ids]
    np.testing.assert_allclose(got, want, atol=1e-12)
    assert np.isnan(got).tolist() == (np.isnan(rows).any(-1) | np.isinf(rows.max(-1))).tolist()


def test_what_is_not_finite_is_told_by_the_log_probability(graphs, native, images, texts):
    f_ND = native.encode_image(images[0], 8)
    f_ND[3] = np.nan
    for runtime in (graphs, native):
        ids, log_probs = runtime.generate(f_ND, texts[0], 3)
        assert np.isnan(log_probs).all()
        assert ((ids >= 0) & (ids < 98)).all()
        assert np.isnan(runtime.score(f_ND, texts[0], [texts[1]])).all()


def test_graphs_of_another_shape_than_the_config_says(bundle, graphs, images, texts):
    config = bundle.config
    wider = dataclasses.replace(config.text, vocab_size=99)
    fewer = dataclasses.replace(config.fusion, num_latents=4, token_budgets=(2, 4))
    for other in ({"text": wider}, {"fusion": fewer}):
        runtime = GraphRuntime(
            dataclasses.replace(config, **other), _NotClosed(graphs._executor), graphs.capabilities
        )
        with pytest.raises(errors.UnsupportedModelError, match="its config says float32"):
            runtime.answer(images[0], 4, texts[0], 2)


def test_the_executor_is_closed_with_the_runtime(bundle):
    files = {name: file.data for name, file in bundle.open_group("onnx/fp32").items()}
    executor = OnnxRuntimeExecutor(files, providers=["CPUExecutionProvider"], num_threads=1)
    facts = Capabilities(
        runtime="onnxruntime", device="cpu", precision="fp32", isa="", num_threads=1, token_map=True
    )
    runtime = GraphRuntime(bundle.config, executor, facts)
    assert runtime.memory_report() == {"graph_file_bytes": sum(map(len, files.values()))}
    assert executor._sessions
    del runtime
    gc.collect()
    assert not executor._sessions
