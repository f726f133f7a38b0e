"""A model folder: verified reading and atomic writing. Format: docs/bundle.md."""

from tokenfuse_sdk.bundle.manifest import FORMAT_VERSION
from tokenfuse_sdk.bundle.precisions import MIN_QUESTIONS, BudgetCount, PrecisionRecord
from tokenfuse_sdk.bundle.read import Bundle, read_bundle
from tokenfuse_sdk.bundle.safetensors_file import read_safetensors
from tokenfuse_sdk.bundle.write import check_output, check_record, record_precisions, write_bundle

__all__ = [
    "FORMAT_VERSION",
    "MIN_QUESTIONS",
    "BudgetCount",
    "Bundle",
    "PrecisionRecord",
    "check_output",
    "check_record",
    "read_bundle",
    "read_safetensors",
    "record_precisions",
    "write_bundle",
]
