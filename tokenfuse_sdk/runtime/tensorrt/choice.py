"""Which of a bundle's engines run here: one group of them, by the device and the precision."""

from __future__ import annotations

from collections.abc import Sequence

from tokenfuse_sdk.engine_key import ENGINE_PRECISIONS
from tokenfuse_sdk.errors import DeviceError, PrecisionError

__all__ = ["PRECISIONS", "choose_group"]

# From the most exact one on.
PRECISIONS = tuple(ENGINE_PRECISIONS)


def choose_group(
    names: Sequence[str], *, target: str, precision: str | None, bundle: str
) -> tuple[str, str]:
    """The precision and why.

    Args:
        names: of a bundle's engines, as "sm_86-fp16".
        target: of the device.
        precision: one of `PRECISIONS`; None for the most exact one that the bundle has for it.
        bundle: its path, for the command that builds.

    Raises:
        DeviceError: the bundle has no engines for the device.
        PrecisionError: it has, but not in this precision.
    """
    there = [one for one in PRECISIONS if f"{target}-{one}" in names]

    def command(wanted: str) -> str:
        return (
            f"`tokenfuse build -m {bundle} -o {bundle} --precision {wanted} --target {target} "
            "--overwrite`"
        )

    if not there:
        has = f"only of {', '.join(names)}" if names else "of no device"
        raise DeviceError(
            f"the bundle has engines {has}; this one is {target}: build them with "
            f"{command(precision or 'fp16')}"
        )
    if precision is None:
        return there[0], f"auto: the most exact of the engines for {target}"
    if precision not in there:
        raise PrecisionError(
            f"precision={precision!r}: the bundle's engines for {target} are in "
            f"{', '.join(there)}; choose one of these, or build them with {command(precision)}"
        )
    return precision, "asked for"
