"""A strict reader of safetensors: everything is checked before tensor memory is taken.

Layout: 8 bytes little-endian header length, a JSON header name -> {dtype, shape,
data_offsets}, then the data. The offsets must cover the data exactly, without
gap or overlap.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tokenfuse_sdk.errors import BundleFormatError, TensorDataError, TensorHeaderError
from tokenfuse_sdk.strict_json import parse_object

__all__ = [
    "DTYPES",
    "MAX_HEADER_BYTES",
    "TensorEntry",
    "all_finite",
    "check_finite",
    "parse_header",
    "read_safetensors",
    "tensor_array",
]

# The base model has about 1,300 tensors, some 130 KB of header; the official library
# stops at 100 MB, far more than a model of ours can need.
MAX_HEADER_BYTES = 2 << 20
MAX_TENSORS = 16384
_MAX_AXES = 8

DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "U8": np.dtype("u1"),
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TensorEntry:
    """One tensor of a header; `begin` and `end` are offsets into the data."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    begin: int
    end: int


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 48


def _entry(
    name: str, value: object, file_name: str, dtypes: Mapping[str, np.dtype[Any]]
) -> TensorEntry:
    where = f"{file_name}: tensor {name!r}"
    keys = {"dtype", "shape", "data_offsets"}
    if not isinstance(value, dict) or set(value) != keys:
        raise TensorHeaderError(f"{where} needs exactly dtype, shape and data_offsets")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in dtypes:
        raise TensorHeaderError(f"{where} has dtype {dtype!r}; allowed: {', '.join(dtypes)}")
    if not isinstance(shape, list) or len(shape) > _MAX_AXES or not all(map(_is_count, shape)):
        raise TensorHeaderError(f"{where} has no valid shape: {shape!r}")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_is_count, offsets)):
        raise TensorHeaderError(f"{where} has no valid data_offsets: {offsets!r}")
    item = dtypes[dtype].itemsize
    # NumPy refuses an array whose other axes are too large even where one is 0.
    if not _is_count(item * math.prod(axis for axis in shape if axis)):
        raise TensorHeaderError(f"{where} has no valid shape: {shape!r} is larger than any file")
    size = item * math.prod(shape)
    if offsets[1] - offsets[0] != size:
        raise TensorHeaderError(
            f"{where} has {offsets[1] - offsets[0]} bytes of data; {dtype} {shape} needs {size}"
        )
    return TensorEntry(
        name=name, dtype=dtypes[dtype], shape=tuple(shape), begin=offsets[0], end=offsets[1]
    )


def parse_header(
    data: memoryview, file_name: str, dtypes: Mapping[str, np.dtype[Any]] = DTYPES
) -> tuple[list[TensorEntry], int, dict[str, str]]:
    """Check a whole file's header against its size.

    Args:
        data: the file.
        file_name: for messages.
        dtypes: the ones that may be there, and what each is read as.

    Returns:
        The tensors by offset, where the data begins, and the metadata.

    Raises:
        TensorHeaderError: truncated, over a cap, or inconsistent in any way.
    """
    if len(data) < 8:
        raise TensorHeaderError(f"{file_name} is truncated: {len(data)} bytes, need 8 and more")
    length = int.from_bytes(data[:8], "little")
    if length > MAX_HEADER_BYTES:
        raise TensorHeaderError(
            f"{file_name} says its header has {length} bytes; at most {MAX_HEADER_BYTES}"
        )
    if 8 + length > len(data):
        raise TensorHeaderError(
            f"{file_name} is truncated: the header needs {8 + length} bytes, there are {len(data)}"
        )
    try:
        header = parse_object(bytes(data[8 : 8 + length]), f"{file_name} header")
    except BundleFormatError as error:
        raise TensorHeaderError(str(error)) from error
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise TensorHeaderError(f"{file_name}: __metadata__ must map text to text")
    if len(header) > MAX_TENSORS:
        raise TensorHeaderError(f"{file_name} has {len(header)} tensors; at most {MAX_TENSORS}")
    entries = [_entry(name, value, file_name, dtypes) for name, value in header.items()]
    entries.sort(key=lambda entry: (entry.begin, entry.end))
    at = 0
    for entry in entries:
        if entry.begin != at:
            kind = "overlaps the tensor before it" if entry.begin < at else "leaves a gap"
            raise TensorHeaderError(
                f"{file_name}: tensor {entry.name!r} begins at {entry.begin}, need {at}: it {kind}"
            )
        at = entry.end
    if 8 + length + at != len(data):
        raise TensorHeaderError(
            f"{file_name} has {len(data) - 8 - length} bytes of data; its header describes {at}"
        )
    return entries, 8 + length, metadata


def tensor_array(data: memoryview, begin: int, entry: TensorEntry) -> np.ndarray:
    """The tensor as a read-only view of the file's bytes."""
    raw = np.frombuffer(data[begin + entry.begin : begin + entry.end], dtype=entry.dtype)
    array = raw.reshape(entry.shape)
    array.setflags(write=False)
    return array


def all_finite(array: np.ndarray) -> bool:
    """Whether no element of a float16 or float32 array is NaN or infinite.

    Those have an exponent of all ones, so as integers they are the largest: the positive ones
    of signed integers, the negative ones of unsigned integers. No array of flags is made.
    """
    if array.size == 0:
        return True
    size = array.dtype.itemsize
    infinity = int(np.asarray(np.inf, array.dtype).view(f"<u{size}"))
    bits = array.reshape(-1)
    return bool(
        bits.view(f"<i{size}").max() < infinity
        and bits.view(f"<u{size}").max() < infinity + (1 << (8 * size - 1))
    )


def check_finite(arrays: Mapping[str, np.ndarray], file_name: str) -> None:
    """Raise TensorDataError at the first tensor that holds NaN or infinity."""
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not all_finite(array):
            raise TensorDataError(
                f"{file_name}: tensor {name!r} holds NaN or infinity; make the file again"
            )


def read_safetensors(data: bytes, file_name: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """All tensors (read-only views of `data`) and the metadata of a safetensors file.

    Raises:
        TensorHeaderError, TensorDataError: see above.
    """
    view = memoryview(data)
    entries, begin, metadata = parse_header(view, file_name)
    arrays = {entry.name: tensor_array(view, begin, entry) for entry in entries}
    check_finite(arrays, file_name)
    return arrays, metadata
