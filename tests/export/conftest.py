"""The small random bundle with its graphs in every precision, exported once."""

from __future__ import annotations

import pathlib

import pytest


@pytest.fixture(scope="session")
def exported_all(_bundle_once: pathlib.Path, tmp_path_factory: pytest.TempPathFactory):
    """What `export_bundle` says; copy the bundle before you change it."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"needs the package {package}")
    from tokenfuse_export.export import export_bundle
    from tokenfuse_sdk.graphs import GRAPH_PRECISIONS

    target = tmp_path_factory.mktemp("exported") / "random-small"
    return export_bundle(_bundle_once, target, precisions=tuple(reversed(GRAPH_PRECISIONS)))


@pytest.fixture(scope="session")
def open_onnx():
    """An ONNX file as a function of its inputs by name to its outputs by name."""

    def opened(path: pathlib.Path):
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        names = [value.name for value in session.get_outputs()]
        return lambda inputs: dict(zip(names, session.run(names, inputs), strict=True))

    return opened
