"""model.safetensors: a mapped file as arrays, verified against the config."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tokenfuse_sdk.bundle.safetensors_file import (
    TensorEntry,
    all_finite,
    check_finite,
    parse_header,
    tensor_array,
)
from tokenfuse_sdk.errors import TensorMismatchError
from tokenfuse_sdk.mapped_file import MappedFile

__all__ = ["WEIGHTS_NAME", "mapped_weights"]

WEIGHTS_NAME = "model.safetensors"

_FLOAT_DTYPES = (np.dtype("<f4"), np.dtype("<f2"))
# Of the file, in memory at a time.
_WINDOW_BYTES = 4 << 20


def _check_shapes(entries: list[TensorEntry], expected: Mapping[str, tuple[int, ...]]) -> None:
    found = {entry.name: entry for entry in entries}
    missing, unknown = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    if missing or unknown:
        parts = [f"lacks {missing[0]!r} and {len(missing) - 1} more"] if missing else []
        parts += [f"has the unknown {unknown[0]!r} and {len(unknown) - 1} more"] if unknown else []
        raise TensorMismatchError(f"{WEIGHTS_NAME} does not fit config.json: it {', '.join(parts)}")
    for name, shape in expected.items():
        entry = found[name]
        if entry.shape != shape:
            raise TensorMismatchError(
                f"{WEIGHTS_NAME}: {name!r} has shape {list(entry.shape)}; config.json needs "
                f"{list(shape)}"
            )
        if entry.dtype not in _FLOAT_DTYPES:
            raise TensorMismatchError(
                f"{WEIGHTS_NAME}: {name!r} has dtype {entry.dtype}; weights are F16 or F32"
            )
    if len({entry.dtype for entry in entries}) > 1:
        raise TensorMismatchError(
            f"{WEIGHTS_NAME} mixes dtypes; store all weights as F16 or as F32"
        )


def mapped_weights(
    file: MappedFile, expected: Mapping[str, tuple[int, ...]]
) -> dict[str, np.ndarray]:
    """Read-only views of the file, name to array; none of it is in memory afterwards.

    Args:
        file: of a known hash.
        expected: name to shape of every tensor.

    Raises:
        TensorHeaderError, TensorMismatchError, TensorDataError: as they say.
    """
    entries, begin, _ = parse_header(file.data, WEIGHTS_NAME)
    _check_shapes(entries, expected)
    weights = {entry.name: tensor_array(file.data, begin, entry) for entry in entries}
    # All of one dtype and without a gap: windows of the file are read, whatever lies in them.
    for first in range(begin, len(file.data), _WINDOW_BYTES):
        window = file.data[first : first + _WINDOW_BYTES]
        if not all_finite(np.frombuffer(window, dtype=entries[0].dtype)):
            check_finite(weights, WEIGHTS_NAME)
        file.release(first, first + len(window))
    # Around a page that two windows share, the system maps some that were given back.
    file.release(0, len(file.data))
    return weights
