"""Arrays that lie on the device are used there, and what others show of theirs is checked."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
import torch
from device_memory import HostMemory

from tokenfuse_sdk.errors import OpError
from tokenfuse_sdk.ops import cuda

pytestmark = pytest.mark.usefixtures("cuda_module")


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_every_op_gives_the_bits_that_numpy_arrays_give(device, floats, precision):
    x, w, b, r = floats(17, 40), floats(24, 40), floats(24), floats(17, 24)
    want = cuda.linear(x, w, b, residual=r, activation="gelu", precision=precision)
    given = [device.put(one, precision) for one in (x, w)]
    y = cuda.linear(*given, device.put(b), residual=device.put(r), activation="gelu", result="fp32")
    assert (y.shape, y.dtype) == ((17, 24), "float32")
    np.testing.assert_array_equal(device.get(y), want)

    gain, shift = floats(40), floats(40)
    for one, name in ((cuda.layer_norm, (gain, shift)), (cuda.rms_norm, (gain,))):
        got = one(device.put(x), *map(device.put, name))
        np.testing.assert_array_equal(device.get(got), one(x, *name))

    q, k, v = floats(2, 19, 2, 16), floats(2, 33, 2, 16), floats(2, 33, 2, 16)
    line, counts = floats(2, 51), np.array([3, 33], np.int32)
    options = {"scale": 0.25, "relative_bias": line, "key_counts": counts}
    want = cuda.attention(q, k, v, **options, precision=precision)
    options |= {"relative_bias": device.put(line), "key_counts": device.put(counts)}
    got = cuda.attention(*(device.put(one, precision) for one in (q, k, v)), **options)
    np.testing.assert_array_equal(device.get(got), want)

    queries, tokens = floats(7, 48), floats(2, 50, 48)
    want = cuda.merge_attention(queries, tokens, return_weights=True, precision=precision)
    given = [device.put(one, precision) for one in (queries, tokens)]
    for one, other in zip(cuda.merge_attention(*given, return_weights=True), want, strict=True):
        np.testing.assert_array_equal(device.get(one), other)

    given = np.array([3] * 17, np.int32)
    want = cuda.log_sum_exp(x, given=given)
    got = cuda.log_sum_exp(device.put(x), given=device.put(given))
    for one, other in zip(got, want, strict=True):
        np.testing.assert_array_equal(device.get(one), other)

    image = floats(2, 6, 5, 3)
    want = cuda.patches(image, kernel=3, padding=1, precision=precision)
    for given, result in ((device.put(image), precision), (device.put(image, precision), None)):
        got = device.get(cuda.patches(given, kernel=3, padding=1, result=result))
        # 27 columns, and zeros up to 32.
        np.testing.assert_array_equal(got[:, :27], want)
        assert not got[:, 27:].any()


def test_out_is_written_where_it_lies(device, floats):
    x, w = device.put(floats(17, 40), "fp16"), device.put(floats(24, 40), "fp16")
    want = device.get(cuda.linear(x, w, result="fp32"))
    wide = device.put(np.full((17, 40), 7.0, np.float32))
    view = wide[:, 8:32]
    assert cuda.linear(x, w, out=view) is view
    got = device.get(wide)
    np.testing.assert_array_equal(got[:, 8:32], want)
    np.testing.assert_array_equal(got[:, :8], 7.0)
    np.testing.assert_array_equal(got[:, 32:], 7.0)
    # The residual may be the result.
    cuda.linear(x, w, residual=view, out=view)
    want = device.get(cuda.linear(x, w, residual=device.put(want), result="fp32"))
    np.testing.assert_array_equal(device.get(view), want)


def test_a_joint_projection_is_read_in_its_strides(device, floats):
    joint = floats(2, 33, 3, 2, 16)
    q, k, v = (np.ascontiguousarray(joint[:, :, i]) for i in range(3))
    want = cuda.attention(q, k, v, scale=0.25)
    there = device.put(joint, "fp16")
    parts = [there[:, :, i] for i in range(3)]
    np.testing.assert_array_equal(device.get(cuda.attention(*parts, scale=0.25)), want)
    out = device.put(np.zeros((2, 33, 3, 2, 16), np.float32), "fp16")
    cuda.attention(*parts, scale=0.25, out=out[:, :, 1])
    np.testing.assert_array_equal(device.get(out)[:, :, 1], want)
    assert not device.get(out)[:, :, ::2].any()


def test_results_are_shown_by_both_protocols(device, floats):
    x = floats(3, 40)
    for precision, dtype in (("fp16", "<f2"), ("fp32", "<f4"), ("bf16", None)):
        array = cuda.to_device(x, precision)
        assert hasattr(array, "__cuda_array_interface__") == (dtype is not None)
        assert array.__dlpack_device__() == (2, 0)
        assert array.shape == (3, 40)
        if dtype is None:
            continue
        shown = array.__cuda_array_interface__
        assert (shown["shape"], shown["typestr"], shown["version"]) == ((3, 40), dtype, 3)
        assert shown["data"][0] % 16 == 0
        if device.is_emulated:
            numpy_type = np.ctypeslib.as_array(
                (ctypes.c_uint8 * (120 * np.dtype(dtype).itemsize)).from_address(shown["data"][0])
            ).view(dtype)
            np.testing.assert_array_equal(numpy_type.reshape(3, 40), x.astype(dtype))
    ids = np.arange(5, dtype=np.int32)
    np.testing.assert_array_equal(cuda.to_device(ids).to_host(), ids)
    with pytest.raises(OpError, match="float64"):
        cuda.to_device(x.astype(np.float64))


def test_layouts_that_do_not_fit_are_refused(device, floats):
    x, w = device.put(floats(32, 48), "fp16"), device.put(floats(24, 40), "fp16")
    for given, what in (
        (x[:, :37], "multiple of 8 for the last axis"),
        (x[:, ::2], "need contiguous axes behind the first 1"),
        (x[:, 4:44], "no multiple of 16"),
        (device.put(floats(3, 44), "fp16")[:, :40], "need multiples of 8"),
        (device.put(np.zeros((3, 40), np.int32)), "x is int32; need float32 or float16"),
        (x, "x has 48, weight has 40"),
    ):
        with pytest.raises(OpError, match=what):
            cuda.linear(given, w)
    with pytest.raises(OpError, match=r"tokens has strides .* need a contiguous array"):
        cuda.merge_attention(device.put(floats(3, 40), "fp16"), x[:, :40])
    with pytest.raises(OpError, match="x is float16, weight is not; need one 16-bit dtype"):
        cuda.linear(x, device.put(floats(24, 48), "bf16"))


def test_a_stride_of_one_element_means_nothing(device, floats):
    x, w = floats(3, 44), device.put(floats(24, 40), "fp16")
    want = device.get(cuda.linear(device.put(x[1:2, :40].copy(), "fp16"), w))
    # 88 bytes from row to row would be refused; there is one row, and it begins at 176.
    got = device.get(cuda.linear(device.put(x[[0, 0, 1]], "fp16")[2:, :40], w))
    np.testing.assert_array_equal(got, want)


def test_outputs_that_do_not_fit_are_refused(device, floats):
    x, w = device.put(floats(17, 40), "fp16"), device.put(floats(24, 40), "fp16")
    for out, what in (
        (device.put(floats(17, 25)), r"out has shape \[17, 25\]; need \[17, 24\]"),
        (device.put(np.zeros((17, 24), np.int32)), "out is int32; need float32, float16"),
        (device.put(floats(17, 24), "bf16"), "a result of bfloat16; need float32 or float16"),
    ):
        with pytest.raises(OpError, match=what):
            cuda.linear(x, w, out=out)
    with pytest.raises(OpError, match="leave result out"):
        cuda.linear(x, w, out=device.put(floats(17, 24)), result="fp32")


def test_what_an_interface_says_is_checked(is_emulated, floats):
    if not is_emulated:
        pytest.skip("needs the emulator: memory of the host is shown as a device's")
    x, w = floats(3, 40).astype(np.float16), cuda.to_device(floats(24, 40))
    whole = HostMemory.of(x).array
    for shown, what in (
        ({"mask": whole}, "has a mask"),
        ({"typestr": "<f8"}, "'<f8' in __cuda_array_interface__"),
        ({"typestr": ">f2"}, "'>f2' in __cuda_array_interface__"),
        ({"strides": (80,)}, "not a stride for each axis"),
        ({"strides": (81, 2)}, "not aligned"),
    ):
        with pytest.raises(OpError, match=what):
            cuda.linear(HostMemory(whole, **shown), w)
    out = HostMemory.of(np.zeros((3, 24), np.float32))
    with pytest.raises(OpError, match="out is read-only"):
        cuda.linear(
            HostMemory(whole),
            w,
            out=HostMemory(out.array, data=(out.array.ctypes.data, True)),
        )
    broadcast = np.lib.stride_tricks.as_strided(out.array, (3, 24), (0, 4))
    with pytest.raises(OpError, match="place of its own"):
        cuda.linear(HostMemory(whole), w, out=HostMemory(broadcast))
    # Rows that repeat may be read.
    repeated = np.lib.stride_tricks.as_strided(whole, (3, 40), (0, 2))
    y = cuda.linear(HostMemory(repeated), w).to_host()
    assert (y == y[0]).all()


def test_torch_takes_a_result_without_a_copy(is_emulated, floats):
    if is_emulated:
        pytest.skip("needs an NVIDIA GPU: torch has no emulated device")
    x, w = (torch.randn(n, 40, device="cuda", dtype=torch.bfloat16) for n in (17, 24))
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        result = cuda.linear(x, w, result="fp32", stream=stream.cuda_stream)
        y = torch.from_dlpack(result)
        assert y.data_ptr() == result.__cuda_array_interface__["data"][0]
    torch.cuda.synchronize()
    torch.testing.assert_close(y, x.float() @ w.float().T, rtol=1e-5, atol=1e-4)
    del result
    # The tensor keeps the memory.
    torch.testing.assert_close(y, x.float() @ w.float().T, rtol=1e-5, atol=1e-4)
    with pytest.raises(OpError, match=r"requires? grad"):
        cuda.linear(x.requires_grad_(), w)


def test_a_call_can_be_captured(is_emulated, floats):
    if is_emulated:
        pytest.skip("needs an NVIDIA GPU: torch captures the graph")
    x, w = (torch.randn(n, 40, device="cuda", dtype=torch.float16) for n in (17, 24))
    out = torch.empty(17, 24, device="cuda")
    cuda.linear(x, w, out=out)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        cuda.linear(x, w, out=out, stream=torch.cuda.current_stream().cuda_stream)
    x.copy_(torch.randn_like(x))
    graph.replay()
    torch.cuda.synchronize()
    torch.testing.assert_close(out, x.float() @ w.float().T, rtol=1e-4, atol=1e-4)
