"""The shipped model with its graphs; examples and what tests of them share are on the path."""

from __future__ import annotations

import pathlib
import sys

import pytest

from tokenfuse_sdk.bundle import add_groups
from tokenfuse_sdk.shipped import find_bundle

HERE = pathlib.Path(__file__).resolve().parent
for folder in (HERE, HERE.parents[1] / "examples"):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The shipped model's bundle with its graphs in fp32."""
    from tokenfuse_export.to_onnx import export_onnx

    folder = tmp_path_factory.mktemp("exported")
    export_onnx("scenes-nano", folder / "onnx")
    bundle = folder / "scenes-nano"
    add_groups(find_bundle("scenes-nano"), bundle, {"onnx/fp32": folder / "onnx" / "fp32"})
    return bundle
