"""The report of a build: report.json, and a table of it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tokenfuse_export.tensorrt.layers import Layer

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["BuildReport", "EngineReport", "report_table"]

_VERSION = 1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EngineReport:
    """One engine.

    Attributes:
        num_profiles: each has kernels of its own.
        num_attentions: of the model, in this graph.
        num_fused_attentions: kernels that are a whole attention, in all profiles together.
        layers: the kernels of all profiles.
        layers_from: "inspector", or "log" of the builder where there was no driver.
        engine_bytes: of the file.
        weights_bytes: in it, as the builder says.
        device_memory_bytes: of a context while it runs, beside the weights.
        build_s: seconds.
    """

    num_profiles: int
    num_attentions: int
    num_fused_attentions: int
    layers: tuple[Layer, ...]
    layers_from: str
    engine_bytes: int
    weights_bytes: int
    device_memory_bytes: int
    build_s: float

    @property
    def all_attention_fused(self) -> bool:
        """Whether each attention of the model is one kernel, in each profile."""
        return self.num_fused_attentions >= self.num_attentions * self.num_profiles

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        layers = [
            {"name": layer.name, "type": layer.type, "precisions": list(layer.precisions)}
            for layer in self.layers
        ]
        return fields | {
            "layers": layers,
            "all_attention_fused": self.all_attention_fused,
            "build_s": round(self.build_s, 3),
        }


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BuildReport:
    """The engines for one target in one precision.

    Attributes:
        flavour, version: of TensorRT.
        target, precision: what they are for.
        digest: of their key.
        warnings: of the builder, each once; and why engines were not verified.
        engines: graph to its report.
    """

    flavour: str
    version: str
    target: str
    precision: str
    digest: str
    warnings: tuple[str, ...]
    engines: Mapping[str, EngineReport]

    @property
    def name(self) -> str:
        """As a bundle calls them: "sm_86-fp16"."""
        return f"{self.target}-{self.precision}"

    def with_warning(self, warning: str | None) -> BuildReport:
        """The same with one warning more, where there is one."""
        if warning is None:
            return self
        return dataclasses.replace(self, warnings=(*self.warnings, warning))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "format_version": _VERSION,
            "flavour": self.flavour,
            "version": self.version,
            "target": self.target,
            "precision": self.precision,
            "digest": self.digest,
            "warnings": list(self.warnings),
            "engines": {graph: engine.to_dict() for graph, engine in self.engines.items()},
        }

    def to_json(self) -> bytes:
        """The bytes of report.json."""
        return (json.dumps(self.to_dict(), indent=1) + "\n").encode("utf-8")


def report_table(reports: Sequence[BuildReport]) -> Table:
    """A row for each engine; narrow enough for a terminal of 80 columns."""
    from rich import box
    from rich.table import Table

    first = reports[0]
    title = f"{first.flavour} {first.version}, {first.precision}; sizes in MB"
    table = Table(title=title, box=box.SIMPLE, pad_edge=False, collapse_padding=True)
    for heading in ("target", "graph"):
        table.add_column(heading, no_wrap=True)
    # "attention": how many are one kernel, of those in all profiles.
    for heading in ("kernels", "attention", "engine", "weights", "memory", "built"):
        table.add_column(heading, justify="right", no_wrap=True)
    for report in reports:
        name = report.target
        for graph, engine in report.engines.items():
            wanted = engine.num_attentions * engine.num_profiles
            sizes = (engine.engine_bytes, engine.weights_bytes, engine.device_memory_bytes)
            table.add_row(
                name,
                graph,
                str(len(engine.layers)),
                f"{engine.num_fused_attentions} of {wanted}",
                *(f"{size / 1e6:.1f}" for size in sizes),
                f"{engine.build_s:.1f} s",
            )
            name = ""
    return table
