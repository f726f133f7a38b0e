"""One op, one name, in every place it lives."""

from __future__ import annotations

import pathlib

import pytest

from tokenfuse_sdk import ops
from tokenfuse_sdk.ops import reference

ROOT = pathlib.Path(__file__).resolve().parents[2]
OPS = sorted(path.name for path in (ROOT / "csrc" / "kernels").iterdir() if path.is_dir())


def test_there_are_ops():
    assert "merge_attention" in OPS
    assert sorted(ops.__all__) == OPS
    assert sorted(reference.__all__) == OPS


@pytest.mark.parametrize("op", OPS)
def test_every_op_is_in_every_place(op):
    places = (
        f"csrc/kernels/{op}/{op}.h",
        f"csrc/kernels/{op}/{op}.cc",
        f"tokenfuse_sdk/ops/{op}.py",
        f"tokenfuse_sdk/ops/reference/{op}.py",
        f"tests/ops/test_{op}.py",
        f"tests/cpp/test_{op}.cc",
        f"benchmarks/bench_{op}.py",
    )
    missing = [place for place in places if not (ROOT / place).is_file()]
    assert not missing
    bound = [
        path.read_text(encoding="utf-8") for path in (ROOT / "csrc/bind").glob("bind_*_ops.cc")
    ]
    assert sum(f'module.def("{op}", ' in text for text in bound) == 1
    # A convolution is made of linear's variants.
    if op != "conv2d":
        own = {
            "attention_int16": ("x86_avx512_vnni",),
            "linear_bf16": ("x86_avx512_bf16",),
            "linear_int8": ("x86_avx512_vnni", "arm_neon_dotprod", "arm_neon_i8mm"),
        }
        for variant in ("x86_avx2", "x86_avx512", "arm_neon", *own.get(op, ())):
            assert (ROOT / f"csrc/kernels/{op}/{variant}.cc").is_file()


@pytest.mark.parametrize("op", OPS)
def test_the_contract_begins_with_the_name_and_the_formula(op):
    text = (ROOT / f"csrc/kernels/{op}/{op}.h").read_text(encoding="utf-8")
    assert text.startswith(f"// {op}")
    assert "Contract" in text
    assert getattr(ops, op).__doc__


def test_the_map_names_every_op():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert [op for op in OPS if f"`{op}`" not in text] == []
