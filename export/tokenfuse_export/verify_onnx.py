"""Every graph by itself against PyTorch: batches, budgets, text lengths, a cache or none.

Shapes: B pictures with a question each, N image tokens, L text ids, A answer ids.
"""

from __future__ import annotations

import dataclasses
import math
import pathlib
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tokenfuse_export.calibration import Calibration
from tokenfuse_export.errors import ExportError
from tokenfuse_export.run_onnx import Call, open_onnx
from tokenfuse_sdk.graphs import GRAPHS, fused_cache, known_cache, text_length_for, text_lengths
from tokenfuse_training.model import JointModel
from tokenfuse_training.model.attend import split_heads

__all__ = ["GraphCheck", "check_graphs", "refuse_errors"]

# Worst error over the root mean square of the output. float32 sums in another order stay near
# 1e-5 for models of some 30 layers; a wrong graph is off by far more.
_FP32_BOUND = 1e-4
# Of lower precisions; a mask or a cache that is wrong costs more.
_LEAST_COSINE = {"fp16": 0.999, "bf16": 0.99, "int8": 0.98, "int8_fp16": 0.98}
_BATCHES = (1, 3)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GraphCheck:
    """One exported graph against PyTorch's float32.

    Attributes:
        precision: of the graph.
        graph: one of `GRAPHS`.
        max_abs_error: largest absolute difference.
        max_rel_error: the same over the root mean square of PyTorch's output.
        cosine: of all outputs.
    """

    precision: str
    graph: str
    max_abs_error: float
    max_rel_error: float
    cosine: float

    @property
    def is_good(self) -> bool:
        if self.precision == "fp32":
            return self.max_rel_error <= _FP32_BOUND
        return self.cosine >= _LEAST_COSINE[self.precision]


# What a graph gave, and what PyTorch gives.
_Pairs = Iterable[tuple[NDArray, Tensor]]


def check_graphs(
    model: JointModel,
    folder: pathlib.Path,
    precision: str,
    calibration: Calibration | None = None,
) -> tuple[GraphCheck, ...]:
    """Run the three graphs of a folder, one after the other, and compare them with PyTorch.

    On the first pictures and questions of `calibration` where it is given, else on random ones:
    what 8 bits say of values far out of their ranges is no test of a graph.
    """
    inputs = _Inputs(model, calibration)
    stages = {"image_encoder": _image_pairs, "text_fusion": _text_pairs, "decoder": _answer_pairs}
    checks = []
    for graph in GRAPHS:
        call = open_onnx(folder / f"{graph}.onnx", precision)
        with torch.no_grad():
            checks.append(_judge(precision, graph, stages[graph](model, inputs, call)))
    return tuple(checks)


class _Inputs:
    """Pictures, texts and answers, the same in every call."""

    def __init__(self, model: JointModel, calibration: Calibration | None) -> None:
        config, batch = model.config, max(_BATCHES)
        rng = np.random.default_rng(0)
        side, vocab = config.vision.image_size, config.text.vocab_size

        def ids(length: int) -> NDArray[np.int32]:
            return rng.integers(2, vocab, (batch, length)).astype(np.int32)

        self.answer_BA = ids(min(5, config.decoder.max_tokens))
        self.answer_BA[:, 0] = config.start_id
        if calibration is not None:
            self.image_BHW3 = calibration.image_CHW3[:batch]
            text_BL = calibration.text_CL[:batch]
            least = text_length_for(config, int(np.count_nonzero(text_BL, axis=1).max()))
            lengths = [length for length in text_lengths(config) if length >= least]
            self.texts = [_with_length(text_BL, length) for length in lengths]
            return
        self.image_BHW3 = rng.uniform(-1, 1, (batch, side, side, 3)).astype(np.float32)
        self.texts = [ids(length) for length in text_lengths(config)]
        for text_BL in self.texts:
            text_BL[-1, 1 + text_BL.shape[1] // 2 :] = config.pad_id

    def cases(self, model: JointModel) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Budget, image tokens and a text, in every budget and batch, and the lengths in turn."""
        f_BND = model.encode_image(torch.from_numpy(self.image_BHW3))
        texts, budgets = self.texts, model.config.fusion.token_budgets
        for i in range(max(len(texts), len(budgets))):
            n = budgets[i % len(budgets)]
            for batch in _BATCHES:
                text_BL = torch.from_numpy(texts[i % len(texts)][:batch])
                yield n, f_BND[:batch, :n], text_BL


def _with_length(text_BL: NDArray[np.int32], length: int) -> NDArray[np.int32]:
    return np.pad(text_BL, ((0, 0), (0, max(0, length - text_BL.shape[1]))))[:, :length]


def _image_pairs(model: JointModel, inputs: _Inputs, call: Call) -> _Pairs:
    for batch in _BATCHES:
        image = inputs.image_BHW3[:batch]
        yield call({"image_BHW3": image})["f_BND"], model.encode_image(torch.from_numpy(image))


def _text_pairs(model: JointModel, inputs: _Inputs, call: Call) -> _Pairs:
    for n, f_BND, text_BL in inputs.cases(model):
        got = call({"f_BND": f_BND.numpy(), "text_BL": text_BL.numpy()})
        want, _ = model.fuse(f_BND, text_BL, n)
        yield got["fused_BNT"], want
        for name, value in _fused_cache(model, want, "present").items():
            yield got[name], value


def _answer_pairs(model: JointModel, inputs: _Inputs, call: Call) -> _Pairs:
    decoder = model.config.decoder
    for n, f_BND, text_BL in inputs.cases(model):
        batch = len(f_BND)
        fused, mask = model.fuse(f_BND, text_BL, n)
        answer = inputs.answer_BA[:batch]
        want = model.decode(torch.from_numpy(answer), fused, mask)
        cache = {k: v.numpy() for k, v in _fused_cache(model, fused, "past_key_values").items()}
        empty = np.zeros((batch, decoder.num_heads, 0, decoder.head_dim), np.float32)
        known = dict.fromkeys(known_cache(model.config), empty)
        yield call({"answer_BA": answer} | known | cache)["logits_BAV"], want
        # The same in two calls: the first id, and the others behind it.
        got = call({"answer_BA": answer[:, :1]} | known | cache)
        yield got["logits_BAV"], want[:, :1]
        if answer.shape[1] > 1:
            names = zip(known, known_cache(model.config, "present"), strict=True)
            known = {name: got[present] for name, present in names}
            got = call({"answer_BA": answer[:, 1:]} | known | cache)
            yield got["logits_BAV"], want[:, 1:]


def _fused_cache(model: JointModel, fused_BNT: Tensor, prefix: str) -> Mapping[str, Tensor]:
    """Keys and values of fused tokens as the reference's layers make them."""
    values = []
    for layer in model.decoder.layers:
        part = layer.cross_attention
        values += [split_heads(y(fused_BNT), part.num_heads) for y in (part.key, part.value)]
    return dict(zip(fused_cache(model.config, prefix), values, strict=True))


def _judge(precision: str, graph: str, pairs: _Pairs) -> GraphCheck:
    worst = relative = 0.0
    cosine = 1.0
    for got, value in pairs:
        want = value.numpy().astype(np.float64)
        if got.shape != want.shape or not np.isfinite(got).all():
            worst = relative = math.inf
            cosine = 0.0
            break
        error = float(np.abs(got - want).max())
        norms = float(np.linalg.norm(want)), float(np.linalg.norm(got.astype(np.float64)))
        worst = max(worst, error)
        relative = max(relative, error / (norms[0] / math.sqrt(want.size)))
        cosine = min(cosine, float((got * want).sum()) / (norms[0] * norms[1]))
    return GraphCheck(
        precision=precision,
        graph=graph,
        max_abs_error=worst,
        max_rel_error=relative,
        cosine=cosine,
    )


def refuse_errors(checks: Iterable[GraphCheck]) -> None:
    """Raise ExportError for the first graph that does not compute what the model computes."""
    for check in checks:
        if not check.is_good:
            raise ExportError(
                f"{check.graph}.onnx in {check.precision} is off by {check.max_rel_error:.1e} of "
                f"its output's root mean square (cosine {check.cosine:.4f}). Nothing was written; "
                "try another opset or version of torch, and report it"
            )
