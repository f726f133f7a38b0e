"""What every op checks of its arrays before the compiled code trusts them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokenfuse_sdk.errors import OpError
from tokenfuse_sdk.integers import integer_in
from tokenfuse_sdk.native import load_native

__all__ = [
    "ACTIVATIONS",
    "FloatArray",
    "attend",
    "call",
    "check_activation",
    "check_threads",
    "checked",
    "checked_ending",
    "dense",
    "same",
]

FloatArray = NDArray[np.float32]
ACTIVATIONS = ("none", "gelu", "gelu_tanh")


def checked(name: str, array: object, axes: str, *, contiguous: bool = False) -> FloatArray:
    """A float32 array with one axis per letter of `axes`.

    Rows may be strided; an array whose last axis is not contiguous is copied.

    Raises:
        OpError: something else.
    """
    if not isinstance(array, np.ndarray) or array.dtype != np.float32:
        given = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise OpError(f"{name} is {given}; need a float32 array ({', '.join(axes)})")
    if array.ndim != len(axes):
        raise OpError(f"{name} has shape {list(array.shape)}; need ({', '.join(axes)})")
    item = array.itemsize
    good = array.ndim == 2 and not contiguous
    good = good and array.strides[1] == item and array.strides[0] >= array.shape[1] * item
    good = good and array.strides[0] % item == 0
    return array if good else np.ascontiguousarray(array)


def same(what: str, **sizes: int) -> None:
    """All sizes are equal.

    Raises:
        OpError: they are not; `what` names the axis.
    """
    if len(set(sizes.values())) > 1:
        given = ", ".join(f"{name} has {size}" for name, size in sizes.items())
        raise OpError(f"{what} must be the same: {given}")


def checked_ending(
    bias: FloatArray | None, residual: FloatArray | None, shape: tuple[int, int]
) -> tuple[FloatArray | None, FloatArray | None]:
    """Bias (N,) and residual (M, N) of a dense layer whose result has `shape` (M, N).

    Raises:
        OpError: one of them does not fit.
    """
    if bias is not None:
        bias = checked("bias", bias, "N")
        same("N", bias=bias.shape[0], weight=shape[1])
    if residual is not None:
        residual = checked("residual", residual, "MN")
        if residual.shape != shape:
            raise OpError(f"residual has shape {list(residual.shape)}; need {list(shape)}")
    return bias, residual


def check_activation(activation: str) -> str:
    """The activation, if it is one.

    Raises:
        OpError: it is not.
    """
    if activation not in ACTIVATIONS:
        raise OpError(f"activation={activation!r}: choose one of {', '.join(ACTIVATIONS)}")
    return activation


def call(name: str, *arguments: Any) -> Any:
    """A compiled op; its own complaint, such as an unknown instruction set, as `OpError`."""
    try:
        return getattr(load_native(), name)(*arguments)
    except ValueError as error:
        raise OpError(f"{name}: {error}") from error
    except TypeError as error:
        given = ", ".join(type(argument).__name__ for argument in arguments)
        raise OpError(
            f"{name}: an option has a type that it does not take; given {given}. See its help"
        ) from error


def check_threads(num_threads: int) -> int:
    """A number of threads from 1 to 1,024.

    Raises:
        OpError: it is not.
    """
    threads = integer_in(num_threads, 1, 1024)
    if threads is None:
        raise OpError(f"num_threads={num_threads!r}: need an integer from 1 to 1024")
    return threads


def dense(
    name: str,
    x: FloatArray,
    weight: FloatArray,
    bias: FloatArray | None,
    residual: FloatArray | None,
    activation: str,
    isa: str,
    num_threads: int,
) -> FloatArray:
    """The compiled op `name` on a dense layer with float32 weights.

    Raises:
        OpError: something does not fit.
    """
    x, weight = checked("x", x, "MK"), checked("weight", weight, "NK")
    same("K", x=x.shape[1], weight=weight.shape[1])
    bias, residual = checked_ending(bias, residual, (x.shape[0], weight.shape[0]))
    check_activation(activation)
    threads = check_threads(num_threads)
    y: FloatArray = call(name, x, weight, bias, residual, activation, isa, threads)
    return y


def attend(
    name: str,
    q: FloatArray,
    k: FloatArray,
    v: FloatArray,
    scale: float,
    bias: FloatArray | None,
    isa: str,
    num_threads: int,
) -> FloatArray:
    """The compiled op `name` on the heads of an attention.

    Raises:
        OpError: something does not fit.
    """
    q = checked("q", q, "QHh")
    k, v = checked("k", k, "KHh"), checked("v", v, "KHh")
    same("H", q=q.shape[1], k=k.shape[1], v=v.shape[1])
    same("h", q=q.shape[2], k=k.shape[2], v=v.shape[2])
    same("K", k=k.shape[0], v=v.shape[0])
    if bias is not None:
        bias = checked("bias", bias, "HQK")
        if bias.shape != (q.shape[1], q.shape[0], k.shape[0]):
            need = [q.shape[1], q.shape[0], k.shape[0]]
            raise OpError(f"bias has shape {list(bias.shape)}; need {need}")
    threads = check_threads(num_threads)
    o: FloatArray = call(name, q, k, v, scale, bias, isa, threads)
    return o
