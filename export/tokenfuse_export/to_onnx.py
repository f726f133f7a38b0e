"""A model as three ONNX graphs: the picture, the question, one step of the answer.

`image_encoder.onnx` turns prepared pictures into image tokens, `text_fusion.onnx` those and a
question's ids into fused tokens, `decoder.onnx` fused tokens and the answer so far into logits.
The split is that of the SDK: a picture is encoded once and asked many times.

Shapes: B pictures with a question each, N latents, L text tokens, A answer tokens. B and N are
fixed in the file, L and A are free. With a fixed batch, queries of the learned latents are
constants of the graph.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import pathlib

from tokenfuse_export.errors import ExportError
from tokenfuse_export.graphs import GRAPHS, graphs_of
from tokenfuse_export.onnx_proto import clean_proto, export_graph
from tokenfuse_export.reference import load_reference
from tokenfuse_export.verify_onnx import ERROR_BOUND, GraphReport, check_graphs, refuse_errors
from tokenfuse_sdk.atomic import atomic_folder
from tokenfuse_sdk.config import ModelConfig
from tokenfuse_sdk.errors import (
    OutputExistsError,
    OutputPathError,
    UnsupportedModelError,
)
from tokenfuse_sdk.integers import checked_int
from tokenfuse_training.model import JointModel

__all__ = [
    "DEFAULT_OPSET",
    "ERROR_BOUND",
    "GRAPHS",
    "ExportError",
    "GraphReport",
    "OnnxExport",
    "check_graphs",
    "export_onnx",
    "load_reference",
]

# LayerNormalization is an op since 17, Gelu since 20: as single nodes both are found by every
# runtime, without a pattern search.
DEFAULT_OPSET = 20
_OPSETS = (17, 23)
_MAX_BATCH = 1024


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OnnxExport:
    """What `export_onnx` wrote.

    Attributes:
        folder: with one file `<name>.onnx` per graph.
        token_budget: N.
        batch_size: B.
        opset: of the default domain.
        checked_with: the runtime that ran the graphs: "onnxruntime" or "onnx reference".
        graphs: one report per graph, in the order of `GRAPHS`.
    """

    folder: pathlib.Path
    token_budget: int
    batch_size: int
    opset: int
    checked_with: str
    graphs: tuple[GraphReport, ...]


def _check_kind(config: ModelConfig) -> None:
    if config.fusion.kind != "joint_adaptive":
        raise UnsupportedModelError(
            f"fusion.kind={config.fusion.kind!r} has no ONNX graphs; export a model of kind "
            "'joint_adaptive'"
        )


def export_onnx(
    model: JointModel | str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    token_budget: int | None = None,
    batch_size: int = 1,
    opset: int = DEFAULT_OPSET,
    error_bound: float = ERROR_BOUND,
    overwrite: bool = False,
) -> OnnxExport:
    """Write the three graphs of a model and check each against PyTorch.

    The inputs are `image_BHW3` float32, `text_BL` int32 padded with 0 and `answer_BA` int32
    that begins with the start id; weights are in the files. Each file's metadata holds the
    model's config and the token budget.

    Args:
        model: the float32 reference, the path of a bundle, or a shipped model's name.
        folder: made; holds `image_encoder.onnx`, `text_fusion.onnx` and `decoder.onnx`.
        token_budget: N; None is the full budget.
        batch_size: B, fixed in the graphs.
        opset: 17 to 23.
        error_bound: on each graph's worst error over the root mean square of its output.
        overwrite: replace a folder that is there.

    Returns:
        What was written, with the errors.

    Raises:
        UnsupportedModelError: the fusion is one of the baselines.
        TokenBudgetError: not one of the model's budgets.
        OutputExistsError, OutputPathError: the folder is there and `overwrite` is false, or its
            path is empty.
        ExportError: onnx or onnxscript is missing, or a graph is further from PyTorch than
            `error_bound`; nothing is written.
    """
    _need_packages()
    import onnx

    if not isinstance(model, JointModel):
        model = load_reference(model)
    _check_kind(model.config)
    batch_size = checked_int("batch_size", batch_size, 1, _MAX_BATCH)
    opset = checked_int("opset", opset, *_OPSETS)
    budget = model.check_budget(token_budget)
    if not os.fspath(folder):
        raise OutputPathError("folder='': need the path of a folder to make")
    target = pathlib.Path(folder)
    if target.exists() and not overwrite:
        raise OutputExistsError(f"{target} is there already; pass overwrite=True to replace it")
    facts = {
        "tokenfuse.config": json.dumps(model.config.to_dict(), sort_keys=True),
        "tokenfuse.token_budget": str(budget),
    }
    was_training = model.training
    model.eval()
    try:
        with atomic_folder(target, overwrite=overwrite) as temporary:
            for name, graph in graphs_of(model, budget, batch_size).items():
                proto = export_graph(graph, opset)
                clean_proto(proto, facts)
                onnx.checker.check_model(proto)
                (temporary / f"{name}.onnx").write_bytes(proto.SerializeToString())
            runtime, reports = check_graphs(
                model, temporary, token_budget=budget, batch_size=batch_size
            )
            refuse_errors(reports, error_bound)
    finally:
        model.train(was_training)
    return OnnxExport(
        folder=target,
        token_budget=budget,
        batch_size=batch_size,
        opset=opset,
        checked_with=runtime,
        graphs=reports,
    )


def _need_packages() -> None:
    lacking = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if lacking:
        raise ExportError(
            f"exporting to ONNX needs the packages {' and '.join(lacking)}; install them with "
            "`pip install 'tokenfuse-sdk[export]'`"
        )
