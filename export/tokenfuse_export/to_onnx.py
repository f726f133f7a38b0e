"""A model as three ONNX graphs: the picture, the question, one step of the answer.

`image_encoder.onnx` turns prepared pictures into image tokens, `text_fusion.onnx` those and a
question's ids into fused tokens, `decoder.onnx` fused tokens and the answer so far into logits.
The split is that of the SDK: a picture is encoded once and asked many times.

Shapes: B pictures with a question each, H = W picture side, L text tokens, N latents, A answer
tokens, D fusion width, T text width, V vocabulary. B and N are fixed in the file, L and A are
free. With a fixed batch, queries of the learned latents are constants of the graph.
"""

from __future__ import annotations

import copy
import dataclasses
import importlib.util
import json
import os
import pathlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tokenfuse_sdk.atomic import atomic_folder
from tokenfuse_sdk.bundle import read_bundle
from tokenfuse_sdk.config import ModelConfig
from tokenfuse_sdk.errors import (
    BundleMissingFileError,
    ConfigError,
    OutputExistsError,
    TokenfuseError,
    UnsupportedModelError,
)
from tokenfuse_sdk.shipped import find_bundle
from tokenfuse_training.model import JointModel
from tokenfuse_training.model.attend import key_bias
from tokenfuse_training.model.t5 import RMSNorm, relative_buckets

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

GRAPHS = ("image_encoder", "text_fusion", "decoder")
# LayerNormalization is an op since 17, Gelu since 20: as single nodes both are found by every
# runtime, without a pattern search.
DEFAULT_OPSET = 20
_OPSETS = (17, 23)
# Worst error over the root mean square of the output. float32 sums in another order stay near
# 1e-5 for models of some 30 layers; a wrong graph is off by far more.
ERROR_BOUND = 1e-4
_MAX_BATCH = 1024


class ExportError(TokenfuseError, RuntimeError):
    """A package for exporting is missing, or the graphs do not compute what the model computes."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GraphReport:
    """One exported graph against PyTorch.

    Attributes:
        name: one of `GRAPHS`.
        size_bytes: of the file.
        num_nodes: in the file, before any runtime has optimised it.
        max_abs_error: largest absolute difference to PyTorch.
        max_rel_error: the same over the root mean square of PyTorch's output.
    """

    name: str
    size_bytes: int
    num_nodes: int
    max_abs_error: float
    max_rel_error: float


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


class _DividedRMSNorm(nn.Module):
    """`x / sqrt(mean(x^2) + eps) * w` as the nodes that runtimes fuse to one.

    ONNX Runtime and OpenVINO look for a power, a square root and a division; the reference's
    product with `rsqrt` leaves five nodes in their graphs.
    """

    def __init__(self, norm: RMSNorm) -> None:
        super().__init__()
        self.weight, self.eps = norm.weight, norm.eps

    def forward(self, x: Tensor) -> Tensor:
        return x / torch.sqrt(x.pow(2.0).mean(-1, keepdim=True) + self.eps) * self.weight


def _with_divided_norms(model: JointModel) -> JointModel:
    """A copy that shares every parameter."""
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    twin = copy.deepcopy(model, shared)
    for module in list(twin.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, RMSNorm):
                setattr(module, name, _DividedRMSNorm(child))
    return twin.eval()


def _bias_table(
    embedding: nn.Embedding, length: int, *, bidirectional: bool, num_buckets: int, distance: int
) -> Tensor:
    """Relative position biases (1, heads, length, length).

    A bias depends on the distance alone, so every shorter text is a corner of this table: the
    graph holds a slice, not the logarithms of the buckets.
    """
    buckets = relative_buckets(
        length,
        length,
        bidirectional=bidirectional,
        num_buckets=num_buckets,
        max_distance=distance,
    )
    return embedding.weight.detach()[buckets].permute(2, 0, 1)[None].contiguous()


class _ImageEncoder(nn.Module):
    def __init__(self, model: JointModel, token_budget: int) -> None:
        super().__init__()
        self.model, self.token_budget = model, token_budget

    def forward(self, image_BHW3: Tensor) -> Tensor:
        return self.model.encode_image(image_BHW3, self.token_budget)


class _TextFusion(nn.Module):
    def __init__(self, model: JointModel, token_budget: int) -> None:
        super().__init__()
        self.model, self.token_budget = model, token_budget
        text = model.config.text
        table = _bias_table(
            model.text.relative_bias,
            text.max_tokens,
            bidirectional=True,
            num_buckets=text.num_buckets,
            distance=text.max_distance,
        )
        self.register_buffer("bias_1HLL", table)

    def forward(self, f_BND: Tensor, text_BL: Tensor) -> Tensor:
        model, length = self.model, text_BL.shape[1]
        mask_BL = text_BL != model.config.pad_id
        bias = self.bias_1HLL[:, :, :length, :length] + key_bias(mask_BL)
        x_BLT = model.embedding(text_BL)
        for layer in model.text.layers:
            x_BLT = layer(x_BLT, bias)
        encoded_BLT = model.text.norm(x_BLT)
        return model.fuse_encoded(f_BND, encoded_BLT, text_BL, self.token_budget)[0]


class _Decoder(nn.Module):
    def __init__(self, model: JointModel) -> None:
        super().__init__()
        self.model = model
        text, length = model.config.text, model.config.decoder.max_tokens
        table = _bias_table(
            model.decoder.relative_bias,
            length,
            bidirectional=False,
            num_buckets=text.num_buckets,
            distance=text.max_distance,
        )
        ahead = torch.ones(length, length, dtype=torch.bool).triu(1)
        self.register_buffer("bias_1HAA", table.masked_fill(ahead, torch.finfo(torch.float32).min))

    def forward(self, answer_BA: Tensor, fused_BNT: Tensor) -> Tensor:
        decoder, length = self.model.decoder, answer_BA.shape[1]
        bias = self.bias_1HAA[:, :, :length, :length]
        x_BAT = self.model.embedding(answer_BA)
        for layer in decoder.layers:
            x_BAT = layer(x_BAT, fused_BNT, bias, None)
        return decoder.lm_head(decoder.norm(x_BAT))


@dataclasses.dataclass(frozen=True, slots=True)
class _Graph:
    """How one graph is called: names and example values of its inputs, free axes."""

    module: nn.Module
    inputs: dict[str, Tensor]
    output: str
    free: dict[str, dict[int, str]]


def _graphs(model: JointModel, token_budget: int, batch_size: int) -> dict[str, _Graph]:
    config = model.config
    generator = torch.Generator().manual_seed(0)
    side, vocab = config.vision.image_size, config.text.vocab_size

    def ids(length: int) -> Tensor:
        return torch.randint(2, vocab, (batch_size, length), generator=generator, dtype=torch.int32)

    image = torch.rand((batch_size, side, side, 3), generator=generator) * 2 - 1
    # Lengths above 1, which the exporter would take for a constant.
    text = ids(min(12, config.text.max_tokens))
    if text.shape[1] > 2:
        # A padded row as well: the mask is part of the graph.
        text[-1, -2:] = config.pad_id
    answer = ids(min(3, config.decoder.max_tokens))
    with torch.no_grad():
        f_BND = model.encode_image(image, token_budget)
        fused_BNT = model.fuse(f_BND, text, token_budget)[0]
    twin = _with_divided_norms(model)
    return {
        "image_encoder": _Graph(
            _ImageEncoder(twin, token_budget), {"image_BHW3": image}, "f_BND", {}
        ),
        "text_fusion": _Graph(
            _TextFusion(twin, token_budget),
            {"f_BND": f_BND, "text_BL": text},
            "fused_BNT",
            {"text_BL": {1: "num_text_tokens"}},
        ),
        "decoder": _Graph(
            _Decoder(twin),
            {"answer_BA": answer, "fused_BNT": fused_BNT},
            "logits_BAV",
            {"answer_BA": {1: "num_answer_tokens"}},
        ),
    }


def _clean(proto: Any, facts: dict[str, str]) -> None:
    """Leave out what the exporter notes of the machine it ran on; add what the model is."""
    from onnx import helper

    for node in proto.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for part in (proto.graph.value_info, proto.graph.input, proto.graph.output):
        for value in part:
            del value.metadata_props[:]
            value.doc_string = ""
    for tensor in proto.graph.initializer:
        del tensor.metadata_props[:]
        tensor.doc_string = ""
    del proto.graph.metadata_props[:]
    del proto.metadata_props[:]
    proto.graph.doc_string = proto.doc_string = ""
    proto.producer_name, proto.producer_version = "tokenfuse", ""
    helper.set_model_props(proto, facts)


def _export_graph(graph: _Graph, opset: int) -> Any:
    """The graph as an ONNX model."""
    lengths = {
        name: {axis: torch.export.Dim(word, min=1) for axis, word in axes.items()}
        for name, axes in graph.free.items()
    }
    # Axes that were 1 long in the example cannot be told from constants: they stay so.
    shapes = [
        {axis: dim for axis, dim in lengths.get(name, {}).items() if value.shape[axis] > 1}
        for name, value in graph.inputs.items()
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            graph.module,
            tuple(graph.inputs.values()),
            input_names=list(graph.inputs),
            output_names=[graph.output],
            dynamic_shapes=shapes,
            opset_version=opset,
            dynamo=True,
            optimize=True,
            verbose=False,
        )
    assert program is not None
    return program.model_proto


def _run_with_onnxruntime(path: pathlib.Path) -> Callable[..., np.ndarray]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda **inputs: session.run(None, inputs)[0]


def _run_with_reference(path: pathlib.Path) -> Callable[..., np.ndarray]:
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(str(path))
    return lambda **inputs: evaluator.run(None, inputs)[0]


def check_graphs(
    model: JointModel, folder: str | os.PathLike[str], *, token_budget: int, batch_size: int = 1
) -> tuple[str, tuple[GraphReport, ...]]:
    """Run the graphs of a folder and compare them with PyTorch.

    With ONNX Runtime where it is installed, else with the evaluator of the onnx package.

    Returns:
        The name of the runtime, and one report per graph.
    """
    import onnx

    has_runtime = importlib.util.find_spec("onnxruntime") is not None
    open_graph = _run_with_onnxruntime if has_runtime else _run_with_reference
    reports = []
    for name, graph in _graphs(model, token_budget, batch_size).items():
        path = pathlib.Path(folder) / f"{name}.onnx"
        with torch.no_grad():
            want = _reference_output(model, name, graph.inputs, token_budget).numpy()
        got = open_graph(path)(**{key: value.numpy() for key, value in graph.inputs.items()})
        worst = float(np.abs(got - want).max()) if got.shape == want.shape else float("inf")
        reports.append(
            GraphReport(
                name=name,
                size_bytes=path.stat().st_size,
                num_nodes=len(onnx.load(path).graph.node),
                max_abs_error=worst,
                max_rel_error=worst / float(np.sqrt(np.mean(np.square(want, dtype=np.float64)))),
            )
        )
    return ("onnxruntime" if has_runtime else "onnx reference"), tuple(reports)


def _reference_output(
    model: JointModel, name: str, inputs: dict[str, Tensor], token_budget: int
) -> Tensor:
    """The untouched model's own output, not that of the modules made for export."""
    if name == "image_encoder":
        return model.encode_image(inputs["image_BHW3"], token_budget)
    if name == "text_fusion":
        return model.fuse(inputs["f_BND"], inputs["text_BL"], token_budget)[0]
    return model.decode(inputs["answer_BA"], inputs["fused_BNT"], None)


def load_reference(bundle: str | os.PathLike[str]) -> JointModel:
    """The float32 reference of a bundle, or of a shipped model's name.

    Raises:
        BundleError: it is missing, damaged or hostile; its kinds say which.
    """
    folder = find_bundle(bundle if isinstance(bundle, str) else pathlib.Path(bundle))
    if not folder.exists():
        raise BundleMissingFileError(f"there is no bundle at {folder}; pass the path of one")
    read = read_bundle(folder)
    return _model_of(read.config, read.weights)


def _model_of(config: ModelConfig, weights: Any) -> JointModel:
    model = JointModel(config)
    model.load_state_dict(
        {name: torch.from_numpy(array.astype(np.float32)) for name, array in weights.items()}
    )
    return model.eval()


def _check_options(config: ModelConfig, batch_size: int, opset: int) -> None:
    if config.fusion.kind != "joint_adaptive":
        raise UnsupportedModelError(
            f"fusion.kind={config.fusion.kind!r} has no ONNX graphs; export a model of kind "
            "'joint_adaptive'"
        )
    for name, value, low, high in (
        ("batch_size", batch_size, 1, _MAX_BATCH),
        ("opset", opset, *_OPSETS),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ConfigError(f"{name}={value!r}: need an integer from {low} to {high}")


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
        OutputExistsError: the folder is there and `overwrite` is false.
        ExportError: onnx or onnxscript is missing, or a graph is further from PyTorch than
            `error_bound`; nothing is written.
    """
    _need_packages()
    import onnx

    if not isinstance(model, JointModel):
        model = load_reference(model)
    _check_options(model.config, batch_size, opset)
    budget = model.check_budget(token_budget)
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
            for name, graph in _graphs(model, budget, batch_size).items():
                proto = _export_graph(graph, opset)
                _clean(proto, facts)
                onnx.checker.check_model(proto)
                (temporary / f"{name}.onnx").write_bytes(proto.SerializeToString())
            runtime, reports = check_graphs(
                model, temporary, token_budget=budget, batch_size=batch_size
            )
            _refuse_errors(reports, error_bound)
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


def _refuse_errors(reports: Sequence[GraphReport], error_bound: float) -> None:
    for report in reports:
        # `not <=` also catches NaN.
        if not report.max_rel_error <= error_bound:
            raise ExportError(
                f"{report.name}.onnx is off by {report.max_rel_error:.1e} of its output's root "
                f"mean square; allowed is {error_bound:.0e}. Nothing was written; try another "
                "opset or version of torch, and report it"
            )
