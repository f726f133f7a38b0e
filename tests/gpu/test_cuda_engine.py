"""The CUDA engine's own promises, on a small model with random weights: bits, memory, errors."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from half_bounds import HALF

from tokenfuse_sdk.errors import DeviceError
from tokenfuse_sdk.ops import cuda
from tokenfuse_sdk.runtime.native_cuda import NativeCudaRuntime
from tokenfuse_training.model import model_from_weights

pytestmark = pytest.mark.usefixtures("cuda_module")

N = 8
_TORCH = {"fp16": torch.float16, "bf16": torch.bfloat16}


@pytest.fixture
def inputs(bundle_parts):
    """Five prepared pictures, questions and answers of several lengths."""
    rng = np.random.default_rng(11)
    vocabulary = bundle_parts["config"].text.vocab_size
    images = rng.standard_normal((5, 32, 32, 3)).astype(np.float32)
    texts = [rng.integers(2, vocabulary, n, dtype=np.int32) for n in (3, 9, 1, 17, 6)]
    return images, texts


@pytest.fixture
def engine_of(cuda_module, bundle_parts):
    def make(**options):
        parts = bundle_parts["config"].to_dict(), bundle_parts["weights"]
        return cuda_module.CudaEngine(*parts, **{"max_batch": 5} | options)

    return make


def everything(engine, images, texts) -> list[np.ndarray]:
    """What an engine computes, of one picture at a time and of all at once."""
    arrays = []
    for first, last in ((0, 5), (0, 1), (2, 5)):
        some, words = np.ascontiguousarray(images[first:last]), texts[first:last]
        f_BND, map_BNS = engine.encode_images(some, N, with_map=True)
        answered_BND, answers = engine.answer(some, words, N, 6)
        arrays += [f_BND, map_BNS, answered_BND]
        for pair in (*engine.generate(f_BND, words, 6), *answers):
            arrays += pair
    arrays.append(engine.score(arrays[0][1], texts[1], [texts[0], texts[4]]))
    arrays.append(engine.fuse(arrays[0][1], texts[1]))
    arrays.append(engine.logits(arrays[0][1], texts[1], texts[0]))
    return arrays


def assert_same(some, others) -> None:
    for one, other in zip(some, others, strict=True):
        assert np.isfinite(one).all()
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_graphs_change_no_bit(engine_of, inputs, precision):
    eager = everything(engine_of(precision=precision, graphs=False), *inputs)
    engine = engine_of(precision=precision)
    engine.record(5, N)
    # Recorded, then replayed.
    assert_same(everything(engine, *inputs), eager)
    assert_same(everything(engine, *inputs), eager)


@pytest.mark.parametrize("graphs", [False, True])
def test_batches_change_no_bit(engine_of, inputs, graphs):
    images, texts = inputs
    engine, alone = engine_of(graphs=graphs), engine_of(graphs=graphs, max_batch=1)
    f_BND, _ = engine.encode_images(images, N)
    answers = engine.generate(f_BND, texts, 6)
    for b in range(5):
        single, _ = alone.encode_images(images[b : b + 1], N)
        np.testing.assert_array_equal(f_BND[b], single[0])
        assert_same(alone.generate(single, texts[b : b + 1], 6)[0], answers[b])
        f, at_once = alone.answer(images[b : b + 1], texts[b : b + 1], N, 6)
        assert_same((f[0], *at_once[0]), (single[0], *answers[b]))


@torch.no_grad()
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_fused_tokens_agree_with_torch(engine_of, bundle_parts, inputs, precision):
    model = model_from_weights(bundle_parts["config"], bundle_parts["weights"]).double()
    engine = engine_of(precision=precision)
    images, texts = inputs
    for budget in bundle_parts["config"].fusion.token_budgets:
        for image, text in zip(images, texts, strict=True):
            f = model.encode_image(torch.from_numpy(image[None]).double(), budget)
            ids = torch.from_numpy(text[None].astype(np.int64))
            want_NT = model.fuse(f, ids, budget)[0][0].numpy()
            got_NT = engine.fuse(f[0].float().numpy(), text)
            assert (got_NT.dtype, got_NT.shape) == (np.float32, want_NT.shape)
            # What the decoder reads has 16 bits.
            halves = torch.from_numpy(got_NT).to(_TORCH[precision]).float().numpy()
            np.testing.assert_array_equal(got_NT, halves)
            error = np.linalg.norm(got_NT - want_NT) / np.linalg.norm(want_NT)
            # As in tests/cpp/cuda/test_cuda_engine.cc: ten roundings of thirty are kept.
            assert HALF[precision] / 10 < error < 10 * HALF[precision]


def test_two_engines_in_two_threads_do_not_meet(engine_of, inputs):
    want = everything(engine_of(), *inputs)
    engines = [engine_of(), engine_of()]
    found: dict[int, list] = {}

    def work(place: int) -> None:
        for _ in range(2):
            found[place] = everything(engines[place], *inputs)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for place in range(2):
        assert_same(found[place], want)


def test_one_engine_serves_many_threads(engine_of, inputs):
    images, texts = inputs
    engine = engine_of()
    f_BND, _ = engine.encode_images(images, N)
    want = [engine.generate(f_BND[b : b + 1], texts[b : b + 1], 6)[0] for b in range(5)]
    found: dict[int, tuple] = {}

    def work(b: int) -> None:
        found[b] = engine.generate(f_BND[b : b + 1], texts[b : b + 1], 6)[0]

    threads = [threading.Thread(target=work, args=(b,)) for b in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for b in range(5):
        assert_same(found[b], want[b])


def _resident_bytes() -> int:
    status = pathlib.Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
    return 1024 * int(line.split()[1])


def test_memory_stays_as_it_is(is_emulated, engine_of, inputs):
    images, texts = inputs
    engine = engine_of()

    def answers(count: int) -> int:
        for i in range(count):
            # Every size of a batch, so that all graphs are there after a round.
            size = i % 5 + 1
            engine.answer(images[:size], texts[:size], N, 6)
        return _resident_bytes() if is_emulated else -torch.cuda.mem_get_info()[0]

    before = answers(10)
    after = answers(30 if is_emulated else 10_000)
    # The device's is given in pieces of 2 MiB, and other programs may take of it; the host's heap
    # keeps some pages. A buffer that each answer lost would be far more.
    assert after - before <= 8 << 20


def test_results_of_ops_give_their_memory_back(is_emulated, floats):
    x, w = (cuda.to_device(floats(512, 512)) for _ in range(2))

    def calls(count: int) -> int:
        for _ in range(count):
            cuda.linear(x, w, result="fp32").__dlpack__()
        if is_emulated:
            return _resident_bytes()
        torch.cuda.synchronize()
        return -torch.cuda.mem_get_info()[0]

    before = calls(2)
    # 1 MiB each.
    assert calls(4 if is_emulated else 2_000) - before <= (3 if is_emulated else 64) << 20


def test_wrong_arguments_are_told(engine_of, inputs):
    images, texts = inputs
    engine = engine_of(max_batch=2)
    f_BND, _ = engine.encode_images(images[:2], N)
    for call, what in (
        (lambda: engine.encode_images(images, N), "a batch of 5; need 1 to 2"),
        (lambda: engine.encode_images(images[:1], 3), "3"),
        (lambda: engine.encode_images(images[:1, 1:], N), "images: need"),
        (lambda: engine.generate(f_BND, texts[:1], 6), "texts: need one for each"),
        (lambda: engine.generate(f_BND, texts[:2], 0), "max_tokens"),
        (lambda: engine.generate(f_BND[:, :, 1:], texts[:2], 6), "f: need"),
        (lambda: engine.fuse(f_BND, texts[0]), "f: need"),
        (lambda: engine.fuse(f_BND[0], texts[0] + 10**6), "id"),
        (lambda: engine.generate(f_BND, [texts[0] + 10**6, texts[1]], 6), "id"),
        (lambda: engine_of(precision="int8"), "fp16 and bf16"),
        (lambda: engine_of(max_batch=0), "max_batch"),
    ):
        with pytest.raises(ValueError, match=what):
            call()
    # And it works on.
    assert_same([engine.encode_images(images[:2], N)[0]], [f_BND])


def test_a_failure_of_cuda_is_a_device_error(cuda_module, bundle_parts, monkeypatch):
    runtime = NativeCudaRuntime(bundle_parts["config"], bundle_parts["weights"], module=cuda_module)
    with pytest.raises(DeviceError, match="CUDA failed: somewhere"), runtime._failure_told():
        raise cuda_module.CudaError("somewhere: something")
    assert issubclass(cuda_module.OutOfMemory, cuda_module.CudaError)
    with pytest.raises(DeviceError, match="not enough memory"), runtime._failure_told():
        raise cuda_module.OutOfMemory("asked for 8 bytes")


def test_without_a_device_cuda_is_a_device_error_and_auto_is_the_cpu():
    """In a process of its own: this one has a device, or pretends to."""
    code = """
import sys, types
import tokenfuse_sdk as tf
from tokenfuse_sdk.ops import cuda
import numpy as np
module = types.ModuleType("tokenfuse_sdk._cuda")
module.__spec__ = types.SimpleNamespace()
module.device_count = lambda: 0
for present in (False, True):
    sys.modules["tokenfuse_sdk._cuda"] = module if present else None
    try:
        tf.load("scenes-nano", device="cuda")
    except tf.TokenfuseError as error:
        print(type(error).__name__, error)
    print(tf.load("scenes-nano", num_threads=1).info.device_reason)
def fail(*_, **__):
    raise module.CudaError("cudaMallocHost: driver")
module.OutOfMemory = module.CudaError = type("CudaError", (RuntimeError,), {})
module.linear = fail
for present in (False, True):
    sys.modules["tokenfuse_sdk._cuda"] = module if present else None
    try:
        cuda.linear(np.zeros((1, 8), np.float32), np.zeros((1, 8), np.float32))
    except tf.TokenfuseError as error:
        print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    absent, auto, none, again, op, op_again = done.stdout.splitlines()
    assert absent.startswith("DeviceError device='cuda' is not there: ")
    assert "built without a CUDA engine" in absent
    assert auto.startswith("auto: this tokenfuse was built without")
    assert none.startswith("DeviceError device='cuda' is not there: no CUDA device is there")
    assert again.startswith("auto: no CUDA device is there")
    assert op.startswith("DeviceError ops.cuda.linear: this tokenfuse was built without")
    assert op_again.startswith("DeviceError ops.cuda.linear: no CUDA device is there")
