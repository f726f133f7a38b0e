"""The benchmarks are scripts: their folders are on the path, as they are for the scripts."""

from __future__ import annotations

import pathlib
import sys

BENCHMARKS = pathlib.Path(__file__).resolve().parents[2] / "benchmarks"
for folder in (
    BENCHMARKS,
    *(BENCHMARKS / name for name in ("cuda", "experiments", "peers", "roofline")),
):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
