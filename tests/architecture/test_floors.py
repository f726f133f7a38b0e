"""Imports go down the floors of docs/architecture.md only."""

from __future__ import annotations

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SDK = ROOT / "tokenfuse_sdk"

# Lowest floor first. A module may import from its own floor's row or below.
FLOORS = [
    {"errors", "config", "integers", "atomic", "strict_json", "native", "_native"}
    | {"plain_file", "mapped_file", "background", "cuda_module", "graphs"}
    | {"protobuf", "onnx_messages", "onnx_file", "engine_key", "engine_file"},
    {"weights", "ops.reference", "flops", "sizes"},
    {"ops", "bundle", "preprocess", "tokenizer"},
    {"runtime"},
    {"golden", "image_tokens", "results", "model", "shipped", ""},
    {"cli", "__main__"},
]


def _module_name(path: pathlib.Path) -> str:
    parts = path.relative_to(SDK).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def _floor(module: str) -> int:
    best = None
    for level, names in enumerate(FLOORS):
        for name in names:
            exact = module == name
            inside = name and module.startswith(name + ".")
            if exact or inside:
                length = len(name)
                if best is None or length > best[0]:
                    best = (length, level)
    assert best is not None, f"tokenfuse_sdk/{module} stands on no floor; add it to FLOORS"
    return best[1]


def _imports(path: pathlib.Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            module = node.module or ""
            found.add(module)
            if module.split(".")[0] == "tokenfuse_sdk":
                found |= {
                    f"{module}.{alias.name}"
                    for alias in node.names
                    if _is_module(f"{module}.{alias.name}")
                }
                if any(_is_module(f"{module}.{alias.name}") for alias in node.names):
                    found.discard(module)
        elif isinstance(node, ast.ImportFrom):
            pytest.fail(f"{path}: relative import; write the full name")
    return found


def _is_module(name: str) -> bool:
    if name == "tokenfuse_sdk._native":
        return True
    path = ROOT / pathlib.Path(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


@pytest.mark.parametrize("path", sorted(SDK.rglob("*.py")), ids=_module_name)
def test_imports_go_down(path):
    own = _floor(_module_name(path))
    for name in _imports(path):
        top, _, rest = name.partition(".")
        assert top not in {"tokenfuse_training", "tokenfuse_export", "torch", "onnx", "tensorrt"}, (
            f"{path.name} imports {name}"
        )
        if top == "tokenfuse_sdk":
            assert _floor(rest) <= own, f"{_module_name(path)} imports {name}, which is above it"


@pytest.mark.parametrize("package", ["core", "kernels", "engine"])
def test_cpp_floors(package):
    order = ["core", "kernels", "engine", "bind"]
    files = [*(ROOT / "csrc" / package).rglob("*.h"), *(ROOT / "csrc" / package).rglob("*.cc")]
    assert files
    for path in files:
        for line in path.read_text(encoding="utf-8").splitlines():
            if not line.startswith("#include"):
                continue
            assert "pybind11" not in line, f"{path}: only csrc/bind knows Python"
            assert "Python.h" not in line, f"{path}: only csrc/bind knows Python"
            for above in order[order.index(package) + 1 :]:
                assert f'"{above}/' not in line, f"{path}: {line}"
