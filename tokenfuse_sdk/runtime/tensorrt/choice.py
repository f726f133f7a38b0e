"""Which of a bundle's engines run here: one group of them, by the device and the precision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenfuse_sdk.engine_key import ENGINE_PRECISIONS
from tokenfuse_sdk.errors import DeviceError, PrecisionError
from tokenfuse_sdk.runtime.tensorrt.availability import device_target, open_device

if TYPE_CHECKING:
    # Reading bundles takes Pillow and the tokenizer library, which a runtime does without.
    from tokenfuse_sdk.bundle import Bundle

__all__ = ["PRECISIONS", "choose_precision"]

# From the most exact one on.
PRECISIONS = tuple(ENGINE_PRECISIONS)


def choose_precision(bundle: Bundle, asked: str | None) -> tuple[str, str]:
    """The precision of the engines that are taken, and why.

    Args:
        bundle: that has engines for this machine's GPU.
        asked: one of `PRECISIONS`; None for the most exact one that it has.

    Raises:
        DeviceError: it has no engines for this GPU, or there is no GPU.
        PrecisionError: it has, but not in this precision.
    """
    target = device_target(open_device())
    there = [name for name in PRECISIONS if f"{target}-{name}" in bundle.engine_names]
    command = (
        f"`tokenfuse build -m {bundle.path} -o {bundle.path} --precision {asked or 'fp16'} "
        f"--target {target} --overwrite`"
    )
    if not there:
        others = ", ".join(bundle.engine_names)
        has = f"the engines {others}" if others else "no engines"
        raise DeviceError(
            f"{bundle.path} has {has}; this machine's GPU is {target}: build some with {command}"
        )
    if asked is None:
        return there[0], f"auto: {there[0]} is the most exact that the bundle has engines of"
    if asked not in there:
        raise PrecisionError(
            f"precision={asked!r}: {bundle.path} has engines for {target} in {', '.join(there)}; "
            f"choose one of these, or build others with {command}"
        )
    return asked, "asked for"
