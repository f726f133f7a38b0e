"""Capsules of DLPack: what ours say, and how those of others are taken, used and deleted."""

from __future__ import annotations

import ctypes
import gc

import numpy as np
import pytest
import torch

from tokenfuse_sdk.errors import OpError
from tokenfuse_sdk.ops import cuda

pytestmark = pytest.mark.usefixtures("cuda_module")


def test_what_a_capsule_says(floats):
    array = cuda.to_device(floats(3, 40), "bf16")
    with pytest.raises(BufferError, match="copy"):
        array.__dlpack__(copy=True)
    with pytest.raises(BufferError, match="device 0"):
        array.__dlpack__(dl_device=(1, 0))
    with pytest.raises(ValueError, match="stream=0"):
        array.__dlpack__(stream=0)
    for version, name, first in ((None, b"dltensor", 0), ((1, 1), b"dltensor_versioned", 4)):
        capsule = array.__dlpack__(stream=-1, max_version=version)
        words = (ctypes.c_uint64 * 12).from_address(_pointer(capsule, name))
        # data; device type and id; axes and dtype: code 4, 16 bits, 1 lane.
        tensor = words[first : first + 6]
        assert tensor[0] % 16 == 0
        assert tensor[1] == 2
        assert tensor[2] == 2 | (4 | 16 << 8 | 1 << 16) << 32
        for place, want in ((3, [3, 40]), (4, [40, 1])):
            assert list((ctypes.c_int64 * 2).from_address(tensor[place])) == want
        assert tensor[5] == 0
        if first:
            assert words[0] == 1  # version 1.0
            assert words[3] == 0  # flags


class Tensor(ctypes.Structure):
    """DLManagedTensor as its documentation has it."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.CFUNCTYPE(None, ctypes.c_void_p)),
    )


_api = ctypes.pythonapi
_api.PyCapsule_New.restype = ctypes.py_object
_api.PyCapsule_New.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
_api.PyCapsule_GetPointer.restype = ctypes.c_void_p
_api.PyCapsule_GetPointer.argtypes = (ctypes.py_object, ctypes.c_char_p)
_api.PyCapsule_GetName.restype = ctypes.c_char_p
_api.PyCapsule_GetName.argtypes = (ctypes.py_object,)


def _pointer(capsule: object, name: bytes) -> int:
    return _api.PyCapsule_GetPointer(capsule, name)


class Producer:
    """Shows memory of ours as a library from before DLPack 1.0 does, and counts what is deleted."""

    def __init__(self, array, *, device=(2, 0), code=2, lanes=1) -> None:
        self.kept, self.device, self.asked, self.deleted = array, device, [], 0
        shown = array.__cuda_array_interface__
        itemsize = int(shown["typestr"][2])
        strides = shown["strides"] and [s // itemsize for s in shown["strides"]]
        axes = len(shown["shape"])
        self.tensor = Tensor(
            # The offset is part of the address.
            data=shown["data"][0] - 32,
            device_type=device[0],
            device_id=device[1],
            ndim=axes,
            code=code,
            bits=8 * itemsize,
            lanes=lanes,
            shape=(ctypes.c_int64 * axes)(*shown["shape"]),
            strides=(ctypes.c_int64 * axes)(*strides) if strides else None,
            byte_offset=32,
            deleter=type(Tensor().deleter)(self._delete),
        )
        self.capsule = None

    def _delete(self, _) -> None:
        self.deleted += 1

    def __dlpack_device__(self):
        return self.device

    def __dlpack__(self, stream=None):
        self.asked.append(stream)
        self.capsule = _api.PyCapsule_New(ctypes.addressof(self.tensor), b"dltensor", None)
        return self.capsule


def test_a_capsule_is_taken_used_and_deleted_once(floats):
    x, w = floats(17, 40), floats(24, 40)
    want = cuda.linear(x, w)
    shown = Producer(cuda.to_device(x))
    y = cuda.linear(shown, cuda.to_device(w), result="fp32")
    np.testing.assert_array_equal(y.to_host(), want)
    # The default stream is 1 in the protocol.
    assert shown.asked == [1]
    assert _api.PyCapsule_GetName(shown.capsule) == b"used_dltensor"
    gc.collect()
    assert shown.deleted == 1


def test_a_capsule_that_is_refused_is_deleted_too(floats):
    w = cuda.to_device(floats(24, 40))
    for shown, what in (
        (Producer(cuda.to_device(floats(3, 40)), code=0), "DLPack type code 0, 16 bits"),
        (Producer(cuda.to_device(floats(3, 40)), lanes=4), "need float16"),
        (Producer(cuda.to_device(floats(40))), r"x has shape \[40\]; need \(M, K\)"),
    ):
        with pytest.raises(OpError, match=what):
            cuda.linear(shown, w)
        gc.collect()
        assert shown.deleted == 1


def test_arrays_elsewhere_are_told_apart(floats):
    w = cuda.to_device(floats(24, 40))
    with pytest.raises(OpError, match="x lies on the host"):
        cuda.linear(torch.zeros(3, 40, dtype=torch.float16), w)
    with pytest.raises(OpError, match="CUDA device 3; need device 0"):
        cuda.linear(Producer(cuda.to_device(floats(3, 40)), device=(2, 3)), w)
    with pytest.raises(OpError, match="DLPack type 10"):
        cuda.linear(Producer(cuda.to_device(floats(3, 40)), device=(10, 0)), w)
