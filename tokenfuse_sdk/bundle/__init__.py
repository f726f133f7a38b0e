"""A model folder: verified reading and atomic writing. Format: docs/bundle.md."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenfuse_sdk.bundle.card import FileRow, files_table, rows_without, with_files_table
    from tokenfuse_sdk.bundle.manifest import FORMAT_VERSION
    from tokenfuse_sdk.bundle.precisions import (
        MAX_QUESTIONS,
        MAX_SEED,
        MIN_QUESTIONS,
        BudgetCount,
        PrecisionRecord,
        check_asked,
    )
    from tokenfuse_sdk.bundle.read import Bundle, read_bundle
    from tokenfuse_sdk.bundle.safetensors_file import read_safetensors
    from tokenfuse_sdk.bundle.write import (
        add_groups,
        check_output,
        check_record,
        record_precisions,
        write_bundle,
    )

__all__ = [
    "FORMAT_VERSION",
    "MAX_QUESTIONS",
    "MAX_SEED",
    "MIN_QUESTIONS",
    "BudgetCount",
    "Bundle",
    "FileRow",
    "PrecisionRecord",
    "add_groups",
    "check_asked",
    "check_output",
    "check_record",
    "files_table",
    "read_bundle",
    "read_safetensors",
    "record_precisions",
    "rows_without",
    "with_files_table",
    "write_bundle",
]

# Where each name lives; read on first use, so that whoever reads needs nothing of who writes.
_HOMES = {
    "FORMAT_VERSION": "manifest",
    "MAX_QUESTIONS": "precisions",
    "MAX_SEED": "precisions",
    "MIN_QUESTIONS": "precisions",
    "BudgetCount": "precisions",
    "Bundle": "read",
    "FileRow": "card",
    "PrecisionRecord": "precisions",
    "add_groups": "write",
    "check_asked": "precisions",
    "check_output": "write",
    "check_record": "write",
    "files_table": "card",
    "read_bundle": "read",
    "read_safetensors": "safetensors_file",
    "record_precisions": "write",
    "rows_without": "card",
    "with_files_table": "card",
    "write_bundle": "write",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tokenfuse_sdk.bundle' has no attribute {name!r}")
    return getattr(importlib.import_module(f"tokenfuse_sdk.bundle.{_HOMES[name]}"), name)
