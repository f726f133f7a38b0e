"""Proof that what was exported computes what the model computes: docs/export.md."""

from tokenfuse_export.verify.inputs import GoldenInputs, golden_inputs, golden_outputs, inputs_of
from tokenfuse_export.verify.rows import Row, Verification
from tokenfuse_export.verify.run import RUNTIMES, verify_bundle, verify_graphs
from tokenfuse_export.verify.trace import Reference

__all__ = [
    "RUNTIMES",
    "GoldenInputs",
    "Reference",
    "Row",
    "Verification",
    "golden_inputs",
    "golden_outputs",
    "inputs_of",
    "verify_bundle",
    "verify_graphs",
]
