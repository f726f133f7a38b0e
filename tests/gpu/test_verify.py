"""`tokenfuse verify` has a row for each precision of the CUDA engine."""

from __future__ import annotations

import pytest

from tokenfuse_export.verify import verify_bundle

pytestmark = pytest.mark.usefixtures("cuda_module")


def test_the_engine_is_within_its_bounds(bundle):
    found = verify_bundle(bundle, against=["native"], precisions=["fp16", "bf16"])
    assert found.passed, found.faults
    rows = {row.precision: row for row in found.rows if row.where == "cuda"}
    assert set(rows) == {"fp16", "bf16"}
    errors = {name: row.comparison.stages["fused_tokens"].max_rel for name, row in rows.items()}
    assert 0 < errors["fp16"] < errors["bf16"]
