"""What a bundle's card says of its files: rows of its table, from a verification."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from tokenfuse_sdk.bundle import FileRow, rows_without, with_files_table

if TYPE_CHECKING:
    # It takes PyTorch, and who builds engines on a device has none.
    from tokenfuse_export.verify import Row

__all__ = ["card_with", "parity_of"]

_TITLES = {
    "native": "tokenfuse",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "tensorrt": "TensorRT",
    "evaluator": "onnx evaluator",
}


def parity_of(rows: Iterable[Row], precision: str) -> tuple[str, str]:
    """The worst of all runtimes: logits, with who computed them, and answers.

    Args:
        rows: one or more; those that ran count.
        precision: theirs.
    """
    ran = [row for row in rows if row.comparison is not None]
    found = [row.comparison for row in ran if row.comparison is not None]
    who = ", ".join(dict.fromkeys(_TITLES[row.runtime] for row in ran))
    logits = [comparison.stages["logits"] for comparison in found]
    same = min((comparison.answers for comparison in found), key=lambda answers: answers.same)
    if precision == "fp32":
        parity = f"max abs {max(stage.max_abs for stage in logits):.1e}"
    else:
        parity = f"cosine {min(stage.cosine for stage in logits):.5f}"
    return f"{parity} ({who})", f"{same.same}/{same.total}"


def card_with(card: str, rows: Sequence[FileRow]) -> str:
    """The card's table with these rows in place of the old ones of their groups."""
    groups = {row.file.rpartition("/")[0] for row in rows}
    return with_files_table(card, [*rows_without(card, groups), *rows])
