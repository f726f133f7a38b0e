"""`_cuda.pyi` and `ops.cuda` name what the module has, no more and no less."""

from __future__ import annotations

import ast
import inspect
import pathlib

import pytest

from tokenfuse_sdk.ops import cuda

STUB = pathlib.Path(__file__).parents[2] / "tokenfuse_sdk" / "_cuda.pyi"


def _named(body: list[ast.stmt]) -> dict[str, ast.stmt]:
    kinds = (ast.FunctionDef, ast.ClassDef)
    return {node.name: node for node in body if isinstance(node, kinds)}


def test_the_stub_is_complete(cuda_module):
    stub = _named(ast.parse(STUB.read_text(encoding="utf-8")).body)
    assert set(stub) == {name for name in dir(cuda_module) if not name.startswith("__")}
    for name in ("CudaEngine", "DeviceArray"):
        told = {one for one in _named(stub[name].body) if not one.startswith("__")}
        assert told == {
            one
            for one in dir(getattr(cuda_module, name))
            if not one.startswith(("__", "_pybind11"))
        }


@pytest.mark.parametrize("op", cuda.__all__)
def test_every_option_of_an_op_is_that_of_the_module(cuda_module, op):
    # pybind11 writes the signature at the top of the docstring.
    told = getattr(cuda_module, op).__doc__.splitlines()[0]
    options = inspect.signature(getattr(cuda, op)).parameters
    assert [name for name in options if f"{name}:" not in told] == []
    assert told.count(": ") == len(options)
