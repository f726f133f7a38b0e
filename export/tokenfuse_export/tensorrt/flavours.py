"""The kinds of TensorRT, and how they differ where engines are built. Nothing else differs."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from types import ModuleType

from tokenfuse_export.errors import EngineBuildError
from tokenfuse_sdk.engine_key import FLAVOURS as NAMES
from tokenfuse_sdk.errors import DeviceError
from tokenfuse_sdk.runtime.tensorrt.flavours import INSTALL, installed_flavours, load_flavour

__all__ = ["FLAVOURS", "Flavour", "TensorRT", "find_tensorrt"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Flavour:
    """One kind of TensorRT.

    Attributes:
        name: one of `engine_key.FLAVOURS`.
        title: as NVIDIA writes it.
        least: the first version whose API and operators we need.
        chooses_target: whether a build may be for another GPU than that of this machine.
        least_targets: of a precision, the first compute capability that has it (80 is sm_80);
            what is not there is had by all.
        has_timing_cache: whether it times kernels while it builds, and can keep what it timed.
    """

    name: str
    title: str
    least: tuple[int, int]
    chooses_target: bool
    least_targets: Mapping[str, int]
    has_timing_cache: bool


# Where both are installed, the first is taken.
FLAVOURS = (
    Flavour(
        name="tensorrt",
        title="TensorRT",
        # What JetPack 6.2 has.
        least=(10, 3),
        chooses_target=False,
        least_targets={"bf16": 80},
        has_timing_cache=True,
    ),
    Flavour(
        name="tensorrt_rtx",
        title="TensorRT-RTX",
        least=(1, 0),
        chooses_target=True,
        least_targets={"bf16": 80, "fp32": 80},
        # Since 1.2 its functions are there and do nothing.
        has_timing_cache=False,
    ),
)
assert tuple(flavour.name for flavour in FLAVOURS) == NAMES


@dataclasses.dataclass(frozen=True, slots=True)
class TensorRT:
    """An installed one.

    Attributes:
        flavour: its kind.
        module: its Python module.
        version: as the module says it.
    """

    flavour: Flavour
    module: ModuleType
    version: str


def find_tensorrt(name: str | None = None) -> TensorRT:
    """The TensorRT that is installed.

    Args:
        name: of the flavour that is wanted; None takes the first that is there.

    Raises:
        EngineBuildError: none is installed, it does not load, or it is too old.
    """
    if name is not None and name not in NAMES:
        raise EngineBuildError(f"flavour={name!r}: choose one of {', '.join(NAMES)}")
    wanted = [flavour for flavour in FLAVOURS if name in (None, flavour.name)]
    failures = []
    for flavour in wanted:
        if flavour.name in installed_flavours():
            try:
                return _checked(flavour, load_flavour(flavour.name))
            except DeviceError as error:
                failures.append(str(error))
    if name == "tensorrt" and not failures:
        raise EngineBuildError(
            "flavour='tensorrt': TensorRT is not installed. It comes with JetPack on a Jetson "
            "(`sudo apt install tensorrt`), with NVIDIA's containers, and from its package index "
            "(`pip install tensorrt`). Or name no flavour: the one that is installed is taken"
        )
    titles = " or ".join(flavour.title for flavour in wanted)
    what = "; ".join(failures) or "none of its modules is there"
    raise EngineBuildError(
        f"building engines needs {titles}: {what}. On a computer, `{INSTALL}`; on a Jetson, "
        "TensorRT is a part of JetPack (`sudo apt install tensorrt`): use the Python of the "
        "system, or an environment made with `--system-site-packages`"
    )


def _checked(flavour: Flavour, module: ModuleType) -> TensorRT:
    version = str(getattr(module, "__version__", ""))
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is None or tuple(map(int, found.groups())) < flavour.least:
        least = ".".join(map(str, flavour.least))
        raise EngineBuildError(
            f"{flavour.title} {version or 'of no version'} ({module.__name__}) is too old; need "
            f"{least} or later. On a Jetson that is JetPack 6.2 or later"
        )
    return TensorRT(flavour, module, version)
