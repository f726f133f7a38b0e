"""A call of the compiled module, its complaints as ours."""

from __future__ import annotations

from typing import Any

from tokenfuse_sdk.cuda_module import cuda_failure_told, load_cuda, unavailable_reason
from tokenfuse_sdk.errors import DeviceError, OpError

__all__ = ["Array", "call"]

# A NumPy array, or anything with `__dlpack__` or `__cuda_array_interface__`.
Array = Any


def call(name: str, *arrays: Array, **options: Any) -> Any:
    """The compiled op `name`.

    Raises:
        DeviceError: no GPU that can be used, or CUDA failed.
        OpError: an array or an option that does not fit.
    """
    try:
        module = load_cuda()
        with cuda_failure_told(module):
            return getattr(module, name)(*arrays, **options)
    except (ImportError, DeviceError) as error:
        # Asked where it failed, not before each call.
        why = unavailable_reason()
        if why is None:
            raise
        raise DeviceError(f"ops.cuda.{name}: {why}; use tokenfuse_sdk.ops") from error
    except ValueError as error:
        raise OpError(f"{name}: {error}") from error
    except TypeError as error:
        # Types alone: what an array on the GPU holds would be waited for.
        given = ", ".join(f"{key} {type(value).__name__}" for key, value in options.items())
        raise OpError(
            f"{name}: an option has a type that it does not take; given {given}. See its help"
        ) from error
