"""A bundle with its graphs: exported, verified, and put into it in one step."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterable, Sequence

from tokenfuse_export.card_rows import card_with, parity_of
from tokenfuse_export.checks import added_to, check_kept_graphs
from tokenfuse_export.output import output_errors, work_beside
from tokenfuse_export.reference import open_bundle, reference_of
from tokenfuse_export.to_onnx import DEFAULT_OPSET, OnnxExport, export_onnx
from tokenfuse_export.verify import Verification, golden_outputs
from tokenfuse_sdk.bundle import Bundle, FileRow, add_groups, check_output
from tokenfuse_sdk.graphs import GRAPHS
from tokenfuse_sdk.shipped import find_bundle

__all__ = ["BundleExport", "export_bundle"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BundleExport:
    """What `export_bundle` wrote.

    Attributes:
        path: the bundle.
        opset: of its graphs.
        verified: each precision's graphs beside PyTorch.
        files: of the new graphs, as the card's table has them.
    """

    path: pathlib.Path
    opset: int
    verified: dict[str, Verification]
    files: tuple[FileRow, ...]


def export_bundle(
    bundle: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    precisions: Sequence[str] = ("fp32",),
    opset: int = DEFAULT_OPSET,
    calibration: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    progress: Callable[[str], None] | None = None,
) -> BundleExport:
    """Write a bundle with ONNX graphs added, verified before anything is written.

    What the bundle holds already stays; graphs of the same precision are replaced. The golden
    tensors that verified them join it where they are not all there, and the card's table says
    how each file agrees with PyTorch.

    Args:
        bundle: its path, or a shipped model's name.
        output: where the new one goes; it may be the bundle itself, with `overwrite`.
        precisions, opset, calibration, progress: of `export_onnx`.
        overwrite: replace a bundle that is there; anything else is never replaced.

    Raises:
        BundlePathError: `output` lies in the bundle.
        BundleExistsError: `output` is there, and is no bundle or `overwrite` was not given.
        OutputPathError: it cannot be written, or the disk is full.
        BundleChangedError: another added to the bundle meanwhile.
        ExportError and others: of `export_onnx`. Nothing is left of what was begun.
    """
    check_output(output, overwrite=overwrite, source=find_bundle(bundle))
    read = open_bundle(bundle)
    check_kept_graphs(read, precisions)
    target = pathlib.Path(output).absolute()
    tell = progress or (lambda what: None)
    with work_beside("the graphs", target) as work:
        done = export_onnx(
            read.path,
            work / "onnx",
            precisions=precisions,
            opset=opset,
            calibration=calibration,
            output=target,
            progress=progress,
        )
        rows = tuple(_file_rows(done))
        golden, card = _golden(read, done), card_with(read.card, rows)
        tell(f"writing {target}")
        with output_errors("the graphs", target):
            add_groups(
                read.path,
                target,
                {f"onnx/{precision}": done.folder / precision for precision in done.precisions},
                golden=golden,
                card=card,
                based_on=added_to(read, target),
                overwrite=overwrite,
            )
    return BundleExport(path=target, opset=done.opset, verified=done.verified, files=rows)


def _golden(bundle: Bundle, done: OnnxExport) -> dict | None:
    if {"text_ids", "image_tokens", "fused_tokens", "logits"} <= bundle.golden.keys():
        return None
    return golden_outputs(reference_of(bundle), done.inputs)


def _file_rows(done: OnnxExport) -> Iterable[FileRow]:
    for precision in done.precisions:
        parity, answers = parity_of(done.verified[precision].parity(precision), precision)
        for path in sorted((done.folder / precision).iterdir(), key=_place):
            yield FileRow(
                file=f"onnx/{precision}/{path.name}",
                precision=precision,
                num_bytes=path.stat().st_size,
                parity=parity,
                answers=answers,
            )


def _place(path: pathlib.Path) -> tuple[int, str]:
    return GRAPHS.index(path.name.split(".")[0]), path.name
