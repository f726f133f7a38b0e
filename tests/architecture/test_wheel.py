"""The installed package holds three import names and the shipped bundle, nothing else."""

from __future__ import annotations

import importlib.metadata
import json
import pathlib

import pytest

_PACKAGES = {"tokenfuse_sdk", "tokenfuse_training", "tokenfuse_export"}
# What a package may hold, by folder; Python files and the compiled module aside.
_DATA = {
    "tokenfuse_sdk": {"py.typed", "_native.pyi", "_cuda.pyi"},
    "tokenfuse_sdk/assets/examples": {"questions.json", *(f"scene{i}.png" for i in range(1, 7))},
    "tokenfuse_training/recipes": {
        f"{name}.yaml"
        for name in ("gqa", "pretrain", "scenes-blind", "scenes-nano", "snli_ve", "vqa2")
    },
}
_BUNDLE = {
    "README.md",
    "config.json",
    "golden.safetensors",
    "manifest.json",
    "model.safetensors",
    "precisions.json",
    "preprocessor_config.json",
    "tokenizer.json",
}
_MAX_BUNDLE_BYTES = 8_000_000


@pytest.fixture(scope="module")
def files() -> list[importlib.metadata.PackagePath]:
    """The installed files, without the byte code that an installer adds."""
    distribution = importlib.metadata.distribution("tokenfuse-sdk")
    origin = json.loads(distribution.read_text("direct_url.json") or "{}")
    if origin.get("dir_info", {}).get("editable"):
        pytest.skip("needs an installation that is not editable")
    found = distribution.files
    assert found
    return [file for file in found if file.suffix != ".pyc"]


def _outside(file: pathlib.PurePath) -> bool:
    return file.parts[0] in ("..", "/")


def test_three_import_names_and_the_metadata(files):
    tops = {file.parts[0] for file in files if not _outside(file)}
    metadata = {top for top in tops if top.endswith(".dist-info")}
    assert len(metadata) == 1
    assert tops - metadata == _PACKAGES
    for name in _PACKAGES:
        assert any(file.as_posix() == f"{name}/__init__.py" for file in files)


def test_one_script(files):
    scripts = [file for file in files if _outside(file)]
    assert [file.stem for file in scripts] == ["tokenfuse"]
    (point,) = importlib.metadata.distribution("tokenfuse-sdk").entry_points.select(
        group="console_scripts"
    )
    assert (point.name, point.value) == ("tokenfuse", "tokenfuse_sdk.cli.main:main")


def test_code_and_data_that_belong_there(files):
    inside = [file for file in files if file.parts[0] in _PACKAGES]
    compiled = [file.as_posix() for file in inside if file.suffix in (".so", ".pyd")]
    # The second one where there is a GPU to build it for.
    modules = {name.partition(".")[0] for name in compiled}
    assert modules <= {"tokenfuse_sdk/_native", "tokenfuse_sdk/_cuda"}
    assert "tokenfuse_sdk/_native" in modules
    assert len(compiled) == len(modules)
    for file in inside:
        assert not set(file.parts) & {"tests", "benchmarks", "csrc", "tools"}, file
        folder = file.parent.as_posix()
        is_bundle = folder.startswith("tokenfuse_sdk/models/") and file.name in _BUNDLE
        is_data = file.name in _DATA.get(folder, ()) or file.as_posix() in compiled
        assert file.suffix == ".py" or is_bundle or is_data, file


def test_all_data_is_there(files):
    inside = {file.as_posix() for file in files}
    for folder, names in _DATA.items():
        for name in names:
            assert f"{folder}/{name}" in inside


def test_shipped_bundles_are_whole_and_small(files):
    bundles: dict[str, set[str]] = {}
    sizes: dict[str, int] = {}
    for file in files:
        if file.parts[:2] == ("tokenfuse_sdk", "models"):
            assert len(file.parts) == 4, file
            bundles.setdefault(file.parts[2], set()).add(file.name)
            size = pathlib.Path(str(file.locate())).stat().st_size
            sizes[file.parts[2]] = sizes.get(file.parts[2], 0) + size
    assert bundles == {"scenes-nano": _BUNDLE}
    assert max(sizes.values()) <= _MAX_BUNDLE_BYTES
