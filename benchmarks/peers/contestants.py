"""Who takes part: ours in every precision that the SDK has, the others in every one of theirs."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Sequence

import with_tokenfuse
from work import Task

__all__ = ["Entry", "entries"]

# Name, precision, the module here that knows it, its variant.
_PEERS = (
    ("torch eager", "fp32", "with_torch", "eager"),
    ("torch eager", "bf16", "with_torch", "eager"),
    ("torch compile", "fp32", "with_torch", "compile"),
    ("torch compile", "bf16", "with_torch", "compile"),
    ("onnxruntime", "fp32", "with_onnxruntime", ""),
    ("onnxruntime", "int8", "with_onnxruntime", ""),
    ("openvino", "fp32", "with_openvino", "f32"),
    ("openvino", "bf16", "with_openvino", "bf16"),
    ("openvino", "int8", "with_openvino", "f32"),
    ("openvino bf16+", "int8", "with_openvino", "bf16"),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One contestant."""

    name: str
    precision: str
    module: str
    variant: str

    @property
    def label(self) -> str:
        return f"{self.name} {self.precision}"

    @property
    def is_ours(self) -> bool:
        return self.module == "with_tokenfuse"

    @property
    def starts(self) -> bool:
        """Whether it is a runtime for devices, whose start and memory are compared."""
        return self.module != "with_torch"

    @property
    def settings(self) -> str:
        """What it runs with, in a line."""
        line: str = importlib.import_module(self.module).settings(self.variant, self.precision)
        return line

    def task(self, folder: str, part: str, batch_size: int, num_threads: int) -> Task:
        return Task(
            folder=folder,
            part=part,
            module=self.module,
            variant=self.variant,
            precision=self.precision,
            batch_size=batch_size,
            num_threads=num_threads,
        )


def entries(only: Sequence[str] = ()) -> list[Entry]:
    """All contestants, or those whose label has one of the words.

    Raises:
        SystemExit: none has.
    """
    ours = [
        ("tokenfuse", precision, "with_tokenfuse", "") for precision in with_tokenfuse.precisions()
    ]
    all_of_them = [Entry(*fields) for fields in (*ours, *_PEERS)]
    chosen = [e for e in all_of_them if not only or any(word in e.label for word in only)]
    if not chosen:
        names = ", ".join(entry.label for entry in all_of_them)
        raise SystemExit(
            f"--only {' '.join(only)}: no contestant has such a word; there are {names}"
        )
    return chosen
