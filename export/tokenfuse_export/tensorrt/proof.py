"""What engines are built from, and engines for this machine's GPU, against PyTorch."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Mapping

from tokenfuse_export.card_rows import parity_of
from tokenfuse_sdk.bundle import Bundle, add_groups

__all__ = ["NOT_HERE", "Proof", "doubt_of_graphs", "prove_engines"]


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


def doubt_of_graphs(bundle: Bundle, folder: pathlib.Path, precision: str) -> str | None:
    """Compare the graphs of a bundle with its model; why that cannot be done here, or None.

    Args:
        bundle: that was read.
        folder: with its graphs.
        precision: theirs.

    Raises:
        ExportError: they do not compute what the model computes.
    """
    try:
        from tokenfuse_export.reference import reference_of
        from tokenfuse_export.verify import inputs_of, verify_graphs
    except ModuleNotFoundError as error:
        return f"the graphs were not verified: {_lacking(error)} is not installed here"
    model = reference_of(bundle)
    done = verify_graphs(model, inputs_of(bundle, model), folder, precision)
    if all(row.passed is None for row in done.rows):
        return f"the graphs were not verified: {'; '.join(row.reason for row in done.rows)}"
    done.refuse()
    return None


def _lacking(error: ModuleNotFoundError) -> str:
    """The package of others that is not there; one of ours that is not is a fault."""
    name = (error.name or "").split(".")[0]
    if name in ("", "tokenfuse_sdk", "tokenfuse_export"):
        raise error
    return name


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
        _lacking(error)
        return _NO_TORCH
    trial = work / "trial"
    add_groups(source, trial, groups)
    done = verify_bundle(trial, against=("tensorrt",), precisions=(precision,))
    done.refuse()
    parity, answers = parity_of(done.rows, precision)
    return Proof(parity=parity, answers=answers)
