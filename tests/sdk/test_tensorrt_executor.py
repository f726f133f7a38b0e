"""TensorRT's executor on an emulated GPU: addresses, profiles, order, threads, memory.

Shapes: B batch, N image tokens kept, D fusion width, P known answer ids, A new ones, V vocabulary.
"""

from __future__ import annotations

import gc
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from emulated_cuda import cudaError_t
from emulated_device import BUDGETS, EmulatedDevice, serialised_engine

from tokenfuse_sdk.errors import (
    DeviceError,
    ModelClosedError,
    TokenBudgetError,
    UnsupportedModelError,
)
from tokenfuse_sdk.graphs import fused_cache, known_cache
from tokenfuse_sdk.runtime.native_cpu import NativeCpuRuntime
from tokenfuse_sdk.runtime.tensorrt.engine import Engine


@pytest.fixture(scope="module")
def native(small_exported):
    return NativeCpuRuntime(small_exported.config, small_exported.weights, num_threads=1)


@pytest.mark.parametrize("budget", BUDGETS)
def test_it_computes_what_the_native_engine_does(device, native, inputs, check, budget):
    images_BHW3, texts, answers = inputs
    runtime = device.runtime
    for image_HW3, text, answer in zip(images_BHW3, texts, answers, strict=True):
        want_ND, want_map = native.encode_image_with_map(image_HW3, budget)
        got_ND, got_map = runtime.encode_image_with_map(image_HW3, budget)
        check(got_ND, want_ND, 1e-4)
        check(got_map, want_map, 1e-5)
        check(runtime.logits(want_ND, text, answer), native.logits(want_ND, text, answer), 1e-3)
        check(runtime.score(want_ND, text, answers), native.score(want_ND, text, answers), 1e-2)
        got, want = (one.generate(want_ND, text, 32) for one in (runtime, native))
        np.testing.assert_array_equal(got[0], want[0])
        check(got[1], want[1], 1e-3)


def test_a_batch_is_its_members(device, native, inputs):
    images_BHW3, texts, _ = inputs
    f_BND = device.runtime.encode_images(images_BHW3, 8)
    for count in (1, 2, 3):
        some = device.runtime.generate_many(f_BND[:count], texts[:count], 8)
        for f_ND, text, (ids, _) in zip(f_BND, texts, some, strict=False):
            np.testing.assert_array_equal(ids, native.generate(f_ND, text, 8)[0])


def test_nothing_is_allocated_once_every_profile_was_used(device, inputs):
    images_BHW3, texts, answers = inputs

    def all_calls() -> None:
        for budget in BUDGETS:
            f_BND = device.runtime.encode_images(images_BHW3, budget)
            device.runtime.generate_many(f_BND, texts, 32)
            device.runtime.score(f_BND[0], texts[0], answers)
            device.runtime.generate(f_BND[1], texts[1], 32)

    all_calls()
    before = device.cuda.num_allocations, device.executor.memory_report()
    for _ in range(3):
        all_calls()
    assert (device.cuda.num_allocations, device.executor.memory_report()) == before


def test_the_cache_goes_back_and_forth_and_is_never_copied(device, small_exported, inputs):
    images_BHW3, texts, _ = inputs
    config = small_exported.config
    f_ND = device.runtime.encode_image(images_BHW3[0], 8)
    # Warm, so that the first block is not another than later ones.
    for _ in range(2):
        device.runtime.generate(f_ND, texts[0], 12)
    (_, fused), *_ = device.context("text_fusion").runs[1:]
    steps = device.context("decoder").runs
    steps = steps[len(steps) // 2 :]
    assert len(steps) > 2
    names = zip(known_cache(config), known_cache(config, "present"), strict=True)
    for past, present in names:
        taken, given = ([addresses[name] for _, addresses in steps] for name in (past, present))
        # What one step wrote is where the next one reads.
        assert taken[1:] == given[:-1]
        assert [shapes[past][2] for shapes, _ in steps] == list(range(len(steps)))
        # Without elements it has an address, too.
        assert all(taken)
    present = known_cache(config, "present")
    assert len({addresses[name] for _, addresses in steps for name in present}) <= 2 * len(present)
    for past, name in zip(fused_cache(config), fused_cache(config, "present"), strict=True):
        assert {addresses[past] for _, addresses in steps} == {fused[name]}


def test_a_profile_is_set_when_it_changes_and_not_before(device, inputs):
    images_BHW3, texts, answers = inputs
    runtime = device.runtime
    f_ND = runtime.encode_image(images_BHW3[0], 8)
    for _ in range(2):
        runtime.generate(f_ND, texts[0], 6)
        runtime.generate(f_ND, texts[2], 6)
    decoder, fusion = device.context("decoder"), device.context("text_fusion")
    # Of batch 1: budget 2 has 0 and 1, budget 8 has step 2 and score 3.
    assert decoder.profile_changes == [2]
    assert fusion.profile_changes == [1]
    runtime.logits(f_ND, texts[0], answers[1])
    runtime.score(f_ND, texts[0], answers[1:])
    assert decoder.profile_changes == [2, 3]
    runtime.generate(f_ND[:2].copy(), texts[0], 6)
    assert (decoder.profile_changes, fusion.profile_changes) == ([2, 3, 0], [1, 0])
    assert device.context("image_encoder").profile_changes == [0]


def test_threads_run_side_by_side_and_lanes_outlive_them(device, native, inputs):
    images_BHW3, texts, _ = inputs
    f_BND = np.stack([native.encode_image(image, 8) for image in images_BHW3])
    want = [native.generate(f, t, 16)[0] for f, t in zip(f_BND, texts, strict=True)]
    together = threading.Barrier(3)

    def ask(i: int) -> None:
        together.wait()
        for _ in range(4):
            np.testing.assert_array_equal(
                device.runtime.generate(f_BND[i], texts[i], 16)[0], want[i]
            )

    for _ in range(3):
        # New threads each time: they take over what the ended ones had.
        with ThreadPoolExecutor(3) as threads:
            list(threads.map(ask, range(3)))
        gc.collect()
    assert device.cuda.num_streams == 3
    assert len(device.module.contexts) == 3 * 2


def test_closing_gives_everything_back(device, inputs):
    images_BHW3, texts, _ = inputs
    f_ND = device.runtime.encode_image(images_BHW3[0], 8)
    thread = threading.Thread(target=device.runtime.generate, args=(f_ND, texts[0], 3))
    thread.start()
    thread.join()
    kept = device.executor.put(f_ND)
    report = device.executor.memory_report()
    assert set(report) == {"weights_bytes", "workspace_bytes", "pinned_bytes"}
    assert report["pinned_bytes"] == sum(device.cuda.live("pinned"))
    # A context has 4,096 bytes of its own, which the emulator does not allocate.
    assert report["workspace_bytes"] == sum(device.cuda.live("device")) + 3 * 4096
    device.executor.close()
    device.executor.close()
    assert device.cuda.live("pinned") == []
    assert device.cuda.num_streams == 0
    assert len(device.cuda.live("device")) == 1
    del kept
    assert device.cuda.live("device") == []
    for call in (lambda: device.executor.put(f_ND), lambda: device.runtime.fuse(f_ND, texts[0])):
        with pytest.raises(ModelClosedError):
            call()


def test_a_runtime_that_is_dropped_closes_its_executor(device, inputs):
    device.runtime.encode_image(inputs[0][0], 8)
    del device.runtime
    gc.collect()
    assert device.cuda.live("device") == []


def test_budgets_and_batches_that_no_engine_was_built_for(device, inputs):
    images_BHW3, texts, _ = inputs
    f_ND = device.runtime.encode_image(images_BHW3[0], 8)
    with pytest.raises(TokenBudgetError, match=r"token_budget=4: .* built for 2, 8; .*--budget"):
        device.runtime.generate(f_ND[:4].copy(), texts[0], 3)
    with pytest.raises(
        UnsupportedModelError,
        match=r"image_encoder was not built for image_BHW3 \[2, 32, 32, 3\]; its profiles take "
        r"\[1, 32, 32, 3\] to \[1, 32, 32, 3\], \[3,",
    ):
        value = device.executor.put(images_BHW3[:2])
        device.executor.run("image_encoder", {"image_BHW3": value}, ["f_BND"])
    # As good as before.
    assert device.runtime.generate(f_ND, texts[0], 3)


def test_an_output_that_was_left_out(small_exported, serialised):
    encoder = serialised_engine(small_exported, "image_encoder", without=["weights_BNS"])
    parts = serialised | {"image_encoder": encoder}
    device = EmulatedDevice(small_exported, parts)
    assert "weights_BNS" not in device.engines["image_encoder"].outputs
    side = small_exported.config.vision.image_size
    with pytest.raises(UnsupportedModelError, match=r"image_encoder .* without .*weights_BNS"):
        device.runtime.encode_image_with_map(np.zeros((side, side, 3), np.float32), 8)


def test_the_device_of_the_thread_stays_what_it_was(device, inputs):
    device.cuda.cudaSetDevice(1)
    # The emulator allocates on device 0 alone.
    device.runtime.encode_image(inputs[0][0], 8)
    assert device.cuda.cudaGetDevice()[1] == 1


def test_a_full_device_is_told_and_no_end(device, inputs):
    device.cuda.memory_limit = 1 << 10
    with pytest.raises(DeviceError, match=r"not enough memory \(cudaMalloc: .*MemoryAllocation"):
        device.runtime.encode_image(inputs[0][0], 8)
    device.cuda.memory_limit = None
    assert device.runtime.encode_image(inputs[0][0], 8).shape == (8, 32)


def test_a_failure_on_the_device_is_told_by_who_waits(device, inputs):
    value = device.executor.put(inputs[0][:1])
    device.cuda._failed = cudaError_t.cudaErrorIllegalAddress
    with pytest.raises(DeviceError, match=r"cudaStreamSynchronize: cudaErrorIllegalAddress"):
        device.executor.get(value)
    # Nothing can be given back then, and nothing is told twice.
    device.executor.close()
    del value


def test_a_value_is_of_one_thread(device, inputs):
    value = device.executor.put(inputs[0][:1])
    with ThreadPoolExecutor(1) as threads, pytest.raises(AssertionError, match="the thread"):
        threads.submit(device.executor.get, value).result()


def test_what_tensorrt_says_is_in_the_error(device, small_exported, serialised):
    with pytest.raises(
        DeviceError, match=r"cannot load decoder.engine: .*magicTag is wrong\. Where"
    ):
        Engine(
            device.module,
            device.module.Runtime(device.log.logger),
            memoryview(serialised["decoder"][1:]),
            name="decoder.engine",
            log=device.log,
        )
    context = device.engines["decoder"].open_context()
    with pytest.raises(DeviceError, match=r"execute_async_v3 failed: .*no shape or address: "):
        context.run(1)
