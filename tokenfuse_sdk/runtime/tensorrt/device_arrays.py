"""Arrays of others on the device, used where they lie: `__dlpack__`, `__cuda_array_interface__`.

The rules are those of `tokenfuse_sdk.ops.cuda`; what TensorRT reads is C-contiguous as well.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from tokenfuse_sdk.errors import OpError
from tokenfuse_sdk.runtime.tensorrt.cuda import DEVICE, Cuda
from tokenfuse_sdk.runtime.tensorrt.values import DeviceValue, Shape

__all__ = ["value_of"]

# Of DLPack (dmlc/dlpack, versions 0.x and 1.x), whose names and layouts these are.
_CUDA, _CUDA_MANAGED = 2, 13
_DTYPES = {(2, 32, 1): np.dtype(np.float32), (0, 32, 1): np.dtype(np.int32)}
_TYPESTRS = {"<f4": np.dtype(np.float32), "<i4": np.dtype(np.int32)}


class _Tensor(ctypes.Structure):
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
    )


class _Versioned(ctypes.Structure):
    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", _Tensor),
    )


def value_of(array: Any, cuda: Cuda, stream: int) -> DeviceValue:
    """The array as a value, without a copy; the stream waits for who made it.

    Raises:
        OpError: another device, dtype or layout than is taken.
    """
    if hasattr(array, "__dlpack__"):
        return _by_dlpack(array, stream)
    return _by_interface(array, cuda, stream)


def _refuse(what: str) -> OpError:
    return OpError(
        f"the array on the device {what}; need C-contiguous float32 or int32 on CUDA device "
        f"{DEVICE} (CUDA_VISIBLE_DEVICES chooses which one that is), or a NumPy array"
    )


def _value(
    address: int, shape: Shape, dtype: np.dtype[Any], strides: Shape | None, stream: int, owner: Any
) -> DeviceValue:
    """Of strides in elements, or None."""
    step = 1
    for extent, stride in zip(reversed(shape), reversed(strides or ()), strict=False):
        if extent > 1 and stride != step:
            raise _refuse(f"has the strides {strides} in elements for the shape {shape}")
        step *= extent
    if not address or address % dtype.itemsize:
        raise _refuse(f"begins at the address {address}")
    return DeviceValue(address=address, shape=shape, dtype=dtype, stream=stream, owner=owner)


def _by_dlpack(array: Any, stream: int) -> DeviceValue:
    kind, device = array.__dlpack_device__()
    if kind not in (_CUDA, _CUDA_MANAGED) or device != DEVICE:
        raise _refuse(f"lies on DLPack's device type {int(kind)}, number {device}")
    try:
        try:
            capsule = array.__dlpack__(stream=stream, max_version=(1, 0))
        except TypeError:  # From before DLPack 1.0.
            capsule = array.__dlpack__(stream=stream)
    except BufferError as error:
        raise _refuse(f"does not show its memory ({error})") from error
    tensor = _tensor_of(capsule)
    code = (tensor.code, tensor.bits, tensor.lanes)
    if code not in _DTYPES:
        raise _refuse(f"has DLPack's type code {code[0]} of {code[1]} bits")
    shape = tuple(tensor.shape[: tensor.ndim])
    strides = tuple(tensor.strides[: tensor.ndim]) if tensor.strides else None
    address = (tensor.data or 0) + tensor.byte_offset
    # The capsule is never marked as used: it deletes what it shows when it goes, and not before.
    return _value(address, shape, _DTYPES[code], strides, stream, capsule)


def _tensor_of(capsule: Any) -> _Tensor:
    shown = (ctypes.py_object, ctypes.c_char_p)
    is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, *shown)(("PyCapsule_IsValid", ctypes.pythonapi))
    pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, *shown)(("PyCapsule_GetPointer", ctypes.pythonapi))
    if is_valid(capsule, b"dltensor_versioned"):
        versioned = _Versioned.from_address(pointer(capsule, b"dltensor_versioned"))
        # A major version may change all but the fields up to the flags.
        if versioned.major > 1:
            raise _refuse(f"shows DLPack {versioned.major}")
        tensor: _Tensor = versioned.tensor
        return tensor
    if is_valid(capsule, b"dltensor"):
        return _Tensor.from_address(pointer(capsule, b"dltensor"))
    raise _refuse("shows no capsule of DLPack that was not used yet")


def _by_interface(array: Any, cuda: Cuda, stream: int) -> DeviceValue:
    shown = array.__cuda_array_interface__
    lacking = [key for key in ("shape", "typestr", "data", "version") if key not in shown]
    if lacking:
        raise _refuse(f"has a __cuda_array_interface__ without {', '.join(lacking)}")
    if shown.get("mask") is not None:
        raise _refuse("has a mask")
    dtype = _TYPESTRS.get(shown["typestr"])
    if dtype is None:
        raise _refuse(f"has the type {shown['typestr']!r}")
    strides = shown.get("strides")
    if strides is not None:
        strides = tuple(stride / dtype.itemsize for stride in strides)
    value = _value(shown["data"][0], tuple(shown["shape"]), dtype, strides, stream, array)
    producer = shown.get("stream")
    if producer is not None and producer != stream:
        cuda.follow(stream, producer)
    return value
