"""New engines against PyTorch, where this machine has the GPU that they are for."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping

from tokenfuse_sdk.bundle import add_groups

__all__ = ["prove_engines"]

_NO_TORCH = (
    "not verified on this GPU: PyTorch is not installed here; compare answers with and without "
    "`--backend tensorrt`, or install it and run `tokenfuse verify --against tensorrt`"
)


def prove_engines(
    source: str | os.PathLike[str],
    groups: Mapping[str, pathlib.Path],
    work: pathlib.Path,
    precision: str,
) -> str | None:
    """Run engines for this machine's GPU, out of a bundle that is only for this.

    Returns:
        Why they were not verified; None where they were.

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
    verify_bundle(trial, against=("tensorrt",), precisions=(precision,)).refuse()
    return None
