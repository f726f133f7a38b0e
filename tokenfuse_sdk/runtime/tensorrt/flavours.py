"""The kinds of TensorRT, and the one that is installed here."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
from types import ModuleType

from tokenfuse_sdk.errors import DeviceError

__all__ = [
    "FLAVOURS",
    "INSTALL",
    "Flavour",
    "installed_flavours",
    "installed_versions",
    "load_flavour",
]

INSTALL = "pip install tensorrt-rtx-cu13-libs tensorrt-rtx-cu13-bindings cuda-bindings"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Flavour:
    """What differs between them at run time.

    Attributes:
        name: as an engine's key has it.
        modules: Python modules that are it, the preferred one first.
        compiles_kernels: whether an engine's kernels are compiled where it is loaded; contexts
            then share them by a runtime cache.
        install: how one gets it.
    """

    name: str
    modules: tuple[str, ...]
    compiles_kernels: bool
    install: str


FLAVOURS = {
    flavour.name: flavour
    for flavour in (
        Flavour(
            name="tensorrt",
            modules=("tensorrt",),
            compiles_kernels=False,
            install="it comes with JetPack, or `pip install tensorrt` from NVIDIA's index",
        ),
        Flavour(
            name="tensorrt_rtx",
            modules=("tensorrt_rtx", "tensorrt_rtx_bindings"),
            compiles_kernels=True,
            install=INSTALL,
        ),
    )
}


def _module_of(flavour: Flavour) -> str | None:
    found = (name for name in flavour.modules if importlib.util.find_spec(name) is not None)
    return next(found, None)


def installed_flavours() -> dict[str, str]:
    """The name of each flavour that is installed, to that of its module; nothing is loaded."""
    found = {name: _module_of(flavour) for name, flavour in FLAVOURS.items()}
    return {name: module for name, module in found.items() if module is not None}


def installed_versions() -> tuple[str, ...]:
    """What is installed, in words: "tensorrt 10.3.0"; or why it does not load."""
    found = []
    for name in installed_flavours():
        try:
            found.append(f"{name} {load_flavour(name).__version__}")
        except DeviceError as error:
            found.append(str(error))
    return tuple(found)


def load_flavour(name: str) -> ModuleType:
    """The module of a flavour.

    Raises:
        DeviceError: it is not installed, or does not load; says how to get it.
    """
    flavour = FLAVOURS[name]
    module = _module_of(flavour)
    if module is None:
        raise DeviceError(
            f"no {name} is installed (none of the modules {', '.join(flavour.modules)}): "
            f"{flavour.install}"
        )
    try:
        return importlib.import_module(module)
    # Where its libraries lack, the bindings raise what they like.
    except (ImportError, OSError, RuntimeError) as error:
        raise DeviceError(f"{module} does not load ({error}): {flavour.install}") from error
