"""New engines against PyTorch, where this machine has the GPU that they are for."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Mapping

from tokenfuse_export.card_rows import parity_of
from tokenfuse_sdk.bundle import add_groups

__all__ = ["NOT_HERE", "Proof", "prove_engines"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """How engines agree with PyTorch, in the words of a card's table.

    Attributes:
        parity, answers: of `FileRow`.
        doubt: why they were not verified though their GPU is here; None otherwise.
    """

    parity: str = "not run where it was built"
    answers: str = "-"
    doubt: str | None = None


NOT_HERE = Proof()
_NO_TORCH = Proof(
    doubt="not verified on this GPU: PyTorch is not installed here; compare answers with and "
    "without `--backend tensorrt`, or install it and run `tokenfuse verify --against tensorrt`"
)


def prove_engines(
    source: str | os.PathLike[str],
    groups: Mapping[str, pathlib.Path],
    work: pathlib.Path,
    precision: str,
) -> Proof:
    """Run engines for this machine's GPU, out of a bundle that is only for this.

    Raises:
        ExportError: they do not run, or do not compute what the model computes.
    """
    try:
        from tokenfuse_export.verify import verify_bundle
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "torch":
            raise
        return _NO_TORCH
    trial = work / "trial"
    add_groups(source, trial, groups)
    done = verify_bundle(trial, against=("tensorrt",), precisions=(precision,))
    done.refuse()
    parity, answers = parity_of(done.rows, precision)
    return Proof(parity=parity, answers=answers)
