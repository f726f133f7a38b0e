"""The timing cache: what TensorRT timed in earlier builds, in a file of the user's."""

from __future__ import annotations

import pathlib
from typing import Any

from tokenfuse_export.errors import EngineBuildError
from tokenfuse_export.tensorrt.flavours import TensorRT
from tokenfuse_sdk.atomic import check_output_file, write_output
from tokenfuse_sdk.plain_file import PlainFileError, read_plain_file

__all__ = ["cached_timings", "read_timings", "use_timings", "write_timings"]

_WHAT = {"what": "the timing cache", "other": "another path to --timing-cache"}
# Those of large models have a few MB.
_MAX_BYTES = 1 << 30


def read_timings(trt: TensorRT, path: pathlib.Path) -> bytes:
    """The bytes of the file, none where there is no file yet.

    Raises:
        EngineBuildError: this TensorRT has no timing cache, or the file cannot be one.
        OutputPathError: the file could not be written later.
    """
    if not trt.flavour.has_timing_cache:
        raise EngineBuildError(
            f"{trt.flavour.title} has no timing cache: it times nothing while it builds, and "
            "chooses kernels on the device at their first use; leave --timing-cache out"
        )
    check_output_file(path, **_WHAT)
    try:
        return read_plain_file(path, max_bytes=_MAX_BYTES)
    except FileNotFoundError:
        return b""
    except PlainFileError as error:
        raise EngineBuildError(
            f"{error}, so it is no timing cache; pass another path to --timing-cache"
        ) from error
    except OSError as error:
        raise EngineBuildError(
            f"the timing cache {path} cannot be read: {error.strerror}"
        ) from error


def write_timings(path: pathlib.Path, timings: bytes) -> None:
    """Replace the file in one step.

    Raises:
        OutputPathError: it cannot be written.
    """
    write_output(path, timings, **_WHAT)


def use_timings(settings: Any, timings: bytes) -> None:
    """Let a build start with what was timed.

    Raises:
        EngineBuildError: it is no cache of this TensorRT and GPU.
    """
    cache = settings.create_timing_cache(timings)
    # Never one of another GPU or version: its times are none of this one's.
    if cache is None or not settings.set_timing_cache(cache, False):
        raise EngineBuildError(
            "the timing cache is none of this TensorRT and GPU; pass another path to "
            "--timing-cache, or remove the file"
        )


def cached_timings(settings: Any) -> bytes:
    """What is timed after a build."""
    return bytes(settings.get_timing_cache().serialize())
