"""Targets: what the user calls a GPU, and what the installed TensorRT calls it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable

from tokenfuse_export.choices import CURRENT
from tokenfuse_export.errors import TargetError
from tokenfuse_export.tensorrt.flavours import TensorRT
from tokenfuse_sdk.engine_key import TARGET
from tokenfuse_sdk.errors import DeviceError, PrecisionError
from tokenfuse_sdk.runtime.tensorrt.availability import device_target, open_device
from tokenfuse_sdk.runtime.tensorrt.flavours import INSTALL

__all__ = ["CURRENT", "Target", "check_precision", "current_target", "resolve_targets"]

# Jetsons, by compute capability.
_JETSONS = {
    "sm_72": "Jetson Xavier",
    "sm_87": "Jetson Orin",
    "sm_101": "Jetson Thor",
    "sm_110": "Jetson Thor",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """A GPU to build for.

    Attributes:
        name: "sm_86".
        capability: its member of `trt.ComputeCapability`; None where only this machine's GPU can
            be built for, and nothing needs to be said.
    """

    name: str
    capability: str | None


def resolve_targets(trt: TensorRT, asked: Iterable[str]) -> tuple[Target, ...]:
    """What to build for, in the order that was asked.

    Args:
        trt: the installed one.
        asked: "sm_86" or "current", the GPU of this machine.

    Raises:
        TargetError: malformed, twice, or none that it can build for.
    """
    targets: list[Target] = []
    for word in asked:
        if word != CURRENT and (not isinstance(word, str) or not TARGET.fullmatch(word)):
            raise TargetError(
                f"target={word!r}: write a compute capability as sm_86 (8.6) or sm_120 (12.0), or "
                f"{CURRENT} for the GPU of this machine"
            )
        target = _resolve(trt, word)
        if target.name in [other.name for other in targets]:
            raise TargetError(f"the target {target.name} is there twice; name each once")
        targets.append(target)
    if not targets:
        raise TargetError(f"no target; name at least one, or {CURRENT} for this machine's GPU")
    return tuple(targets)


def check_precision(trt: TensorRT, targets: Iterable[Target], precision: str) -> None:
    """Raise PrecisionError for a target whose GPU lacks a precision, which TensorRT says late."""
    least = trt.flavour.least_targets.get(precision, 0)
    for target in targets:
        if int(target.name.removeprefix("sm_")) < least:
            raise PrecisionError(
                f"{target.name} has no {precision} with {trt.flavour.title}: that begins at "
                f"sm_{least}; take fp16 or int8, or leave {target.name} out"
            )


def _resolve(trt: TensorRT, word: str) -> Target:
    flavour = trt.flavour
    known = _known(trt)
    if word in known:
        return Target(word, known[word])
    here, why_not = current_target()
    if here is not None and word in (CURRENT, here):
        # Also a GPU that is on no list: only building can tell.
        return Target(here, known.get(here, "CURRENT") if flavour.chooses_target else None)
    if word == CURRENT:
        offer = f"; or name one of {', '.join(known)}" if known else ""
        raise TargetError(f"target={CURRENT}, the GPU of this machine: {why_not}{offer}")
    if flavour.chooses_target:
        what = f"{flavour.title} {trt.version} builds for {', '.join(known)}"
        if here is not None:
            what += f" and this machine's {here}"
    else:
        what = f"{flavour.title} {trt.version} builds for the GPU of its own machine alone"
        what += f", which is {here}" if here is not None else f" ({why_not})"
    what += f", not for {word}"
    if word in _JETSONS:
        what += (
            f", which is a {_JETSONS[word]}; build on the Jetson itself, with the TensorRT of its "
            f"JetPack: `tokenfuse build -m BUNDLE -o BUNDLE --target {CURRENT} --overwrite`"
        )
    elif not flavour.chooses_target:
        what += f"; build there, or install TensorRT-RTX (`{INSTALL}`)"
    else:
        what += "; name one of these"
    raise TargetError(f"target={word}: {what}")


def _known(trt: TensorRT) -> dict[str, str]:
    """Target to member of `ComputeCapability`, of those that need no GPU to be there."""
    if not trt.flavour.chooses_target:
        return {}
    names = [found for name in trt.module.ComputeCapability.__members__ if (found := _number(name))]
    return {f"sm_{number}": f"SM{number}" for number in sorted(names)}


def _number(name: str) -> int | None:
    found = re.fullmatch(r"SM(\d{2,3})", name)
    return int(found[1]) if found else None


def current_target() -> tuple[str | None, str]:
    """The GPU of this machine as "sm_86"; else None, and why."""
    try:
        return device_target(open_device()), ""
    except DeviceError as error:
        return None, str(error)
