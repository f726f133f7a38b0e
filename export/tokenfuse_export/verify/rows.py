"""What a verification found: a row for each runtime and precision, run or not."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from tokenfuse_export.errors import ExportError
from tokenfuse_export.verify.bounds import BOUNDS
from tokenfuse_export.verify.compare import Comparison

__all__ = ["Row", "Verification"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One runtime in one precision.

    Attributes:
        runtime: one of `RUNTIMES`.
        where: "cpu", "cuda", or what an engine was built for.
        precision: one of the runtime's.
        token_budgets: that are compared; an engine may have fewer than the model.
        comparison: with the reference; None where it did not run to its end.
        passed: None where it was not run.
        reason: why it was not run, or what is beyond its bound; "" where it passed.
    """

    runtime: str
    where: str
    precision: str
    token_budgets: tuple[int, ...]
    comparison: Comparison | None = None
    passed: bool | None = None
    reason: str = ""

    @property
    def title(self) -> str:
        return " ".join(filter(None, (self.runtime, self.where, self.precision)))

    def to_dict(self) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "runtime": self.runtime,
            "where": self.where,
            "precision": self.precision,
            "token_budgets": list(self.token_budgets),
            "passed": self.passed,
            "reason": self.reason,
        }
        if self.comparison is None:
            return facts
        return facts | self.comparison.to_dict() | {"bound": BOUNDS[self.precision].to_dict()}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """All rows.

    Attributes:
        model: its name.
        num_inputs: pictures with a question each.
        rows: in the order of `RUNTIMES`.
        asked: runtimes and precisions that were named: one that did not run is a failure.
    """

    model: str
    num_inputs: int
    rows: tuple[Row, ...]
    asked: tuple[str, ...] = ()

    @property
    def faults(self) -> tuple[str, ...]:
        """Why it failed; nothing where it passed."""
        failed = [f"{row.title}: {row.reason}" for row in self.rows if row.passed is False]
        for name in self.asked:
            rows = [row for row in self.rows if name in (row.runtime, row.precision)]
            if not any(row.passed is not None for row in rows):
                titles: dict[str, list[str]] = {}
                for row in rows:
                    titles.setdefault(row.reason, []).append(row.title)
                reasons = (f"{', '.join(names)}: {reason}" for reason, names in titles.items())
                why = "; ".join(reasons) or "nothing here has it"
                failed.append(f"{name} was asked for and not run: {why}")
        if not any(row.passed is not None for row in self.rows):
            failed.append("nothing was run")
        return tuple(failed)

    @property
    def passed(self) -> bool:
        """Everything that ran is within its bounds, and something did."""
        return not self.faults

    def refuse(self) -> None:
        """Raise ExportError where it failed; says everything that is wrong."""
        if self.faults:
            raise ExportError(
                f"{self.model} does not verify: {'; '.join(self.faults)}. Nothing was written"
            )

    def to_dict(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "passed": self.passed,
            "faults": list(self.faults),
            "num_inputs": self.num_inputs,
            "rows": [row.to_dict() for row in self.rows],
        }

    def parity(self, precision: str) -> Sequence[Row]:
        """Rows that ran graphs of a precision: what a card tells of its files."""
        graphs = ("onnxruntime", "openvino", "evaluator")
        return [
            row
            for row in self.rows
            if row.comparison and row.precision == precision and row.runtime in graphs
        ]
