"""What was measured on a GPU: rows of `peers/report.py` with what a GPU adds; tables, files."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from gpu_work import Peaks, Work
from report import OURS, Row, as_json, write_json

__all__ = ["GpuRow", "Stored", "gpu_row", "print_gpu_rows"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GpuRow:
    """One contestant's times for one piece of work.

    Attributes:
        row: what every benchmark of contestants has; `threads` are the host's, 1.
        op: "merge_attention", or "answer" for the whole model.
        shape: in words.
        timed: what `row` has the times of: "graph" and "launches" of the device, "call" of a call
            on the host from arrays to ids.
        device_ms: between the first and the last work on the device, median.
        launch_ms: of the host asking for it, median.
        host_ms: of a call outside of the device: its median less `device_ms`.
        flops, bytes: the least that the work takes.
        limit_ms: that, at the measured peaks.
        limited_by: "arithmetic" or "memory".
        share_of_limit: limit_ms over device_ms.
        answers: equal to the float32 reference's, of the batch; None for an op.
    """

    row: Row
    op: str
    shape: str
    timed: str
    device_ms: float
    launch_ms: float
    host_ms: float
    flops: int
    bytes: int
    limit_ms: float
    limited_by: str
    share_of_limit: float
    answers: int | None


def gpu_row(
    row: Row,
    *,
    op: str,
    shape: str,
    timed: str,
    device_ms: float,
    launch_ms: float,
    work: Work,
    peaks: Peaks,
    answers: int | None = None,
) -> GpuRow:
    """A row with its share of the limit."""
    limit_ms = 1e3 * work.limit_s(peaks, row.precision)
    return GpuRow(
        row=row,
        op=op,
        shape=shape,
        timed=timed,
        device_ms=device_ms,
        launch_ms=launch_ms,
        host_ms=max(0.0, row.median_ms - device_ms),
        flops=work.flops,
        bytes=work.bytes,
        limit_ms=limit_ms,
        limited_by=work.limited_by(peaks, row.precision),
        share_of_limit=limit_ms / device_ms,
        answers=answers,
    )


def _plain(rows: Sequence[GpuRow]) -> list[dict[str, Any]]:
    """As plain types, with the ratio to the best peer among them."""
    stored = []
    for fields, gpu in zip(as_json([gpu.row for gpu in rows]), rows, strict=True):
        own = {f.name: getattr(gpu, f.name) for f in dataclasses.fields(gpu) if f.name != "row"}
        stored.append(fields | own)
    return stored


def print_gpu_rows(title: str, rows: Sequence[GpuRow], absent: Mapping[str, str]) -> None:
    """A table, fastest first, of one piece of work."""
    print(f"\n{title}")
    print(
        f"  {'':<34}{'median':>11}{'p95':>11}{'device':>11}{'launch':>11}"
        f"{'off':>9}{'limit':>7}   times faster than the best peer"
    )
    ratios = {
        (fields["name"], fields["precision"]): fields
        for fields in as_json([gpu.row for gpu in rows])
    }
    for gpu in sorted(rows, key=lambda gpu: gpu.row.median_ms):
        row = gpu.row
        line = (
            f"{'*' if row.is_ours else ' '} {row.label:<34}{row.median_ms:>8.4f} ms"
            f"{row.p95_ms:>8.4f} ms{gpu.device_ms:>8.4f} ms{gpu.launch_ms:>8.4f} ms"
            f"{row.relative_err:>9.1e}{gpu.share_of_limit:>7.0%}"
        )
        fields = ratios[row.name, row.precision]
        if "best_peer" in fields:
            low, high = fields["ratio_quartiles"]
            line += f"   {fields['times_faster_than_best_peer']:.2f} x [{low:.2f}, {high:.2f}]"
        print(line)
    for label, why in absent.items():
        print(f"  {label:<34}{why}")
    print(end="", flush=True)


class Stored:
    """The file, written anew after each piece of work: what breaks later loses nothing.

    Attributes:
        lacks_ours: whether one of ours was absent anywhere.
    """

    def __init__(self, path: pathlib.Path | None, facts: Mapping[str, Any]) -> None:
        self._path, self._facts = path, dict(facts)
        self.lacks_ours = False
        self._rows: list[dict[str, Any]] = []
        self._absent: list[dict[str, Any]] = []

    def add(self, rows: Sequence[GpuRow], absent: Mapping[str, str], **where: Any) -> None:
        self._rows += _plain(rows)
        self.lacks_ours |= any(label.startswith(OURS) for label in absent)
        self._absent += [{"contestant": label, "why": why} | where for label, why in absent.items()]
        if self._path is not None:
            write_json(self._path, self._facts | {"rows": self._rows, "absent": self._absent})
