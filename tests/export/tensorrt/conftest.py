"""The installed TensorRT-RTX, and engines of the small bundle, built once."""

from __future__ import annotations

import dataclasses
import pathlib
import platform

import pytest

from tokenfuse_export.errors import EngineBuildError
from tokenfuse_export.tensorrt.build import build_engines
from tokenfuse_export.tensorrt.flavours import TensorRT, find_tensorrt
from tokenfuse_export.tensorrt.report import BuildReport


@pytest.fixture(scope="session")
def trt() -> TensorRT:
    system = platform.system(), platform.machine()
    try:
        return find_tensorrt("tensorrt_rtx")
    except EngineBuildError:
        if system == ("Linux", "x86_64"):
            raise  # The extra `test` has it.
        pytest.skip(f"the extra `test` has no tensorrt-rtx-cu13-bindings for {' '.join(system)}")


@dataclasses.dataclass(frozen=True)
class Built:
    """A bundle with engines, and what the build said."""

    path: pathlib.Path
    report: BuildReport
    progress: list[tuple[str, str, float, str]]


@pytest.fixture(scope="session")
def built(trt: TensorRT, _bundle_once: pathlib.Path, tmp_path_factory) -> Built:
    """Engines of the small bundle for sm_86 in fp16; it had no graphs, so it got them too."""
    path = tmp_path_factory.mktemp("built") / "random-small"
    said: list[tuple[str, str, float, str]] = []
    (report,) = build_engines(
        _bundle_once,
        path,
        precision="fp16",
        targets=["sm_86"],
        report=lambda *words: said.append(words),
    )
    return Built(path, report, said)
