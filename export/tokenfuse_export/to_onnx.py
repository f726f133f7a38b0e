"""A model as three ONNX graphs: the picture, the question, new tokens of the answer.

`image_encoder.onnx` turns prepared pictures into image tokens, `text_fusion.onnx` those and a
question's ids into fused tokens, `decoder.onnx` answer ids, behind those it has seen already,
into logits. The split is that of the SDK: a picture is encoded once and asked many times. Batch,
token budget and lengths are free: docs/export.md.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import pathlib
from collections.abc import Callable, Sequence

from tokenfuse_export.calibration import calibration_of
from tokenfuse_export.checks import check_model
from tokenfuse_export.errors import ExportError
from tokenfuse_export.onnx_files import write_graphs
from tokenfuse_export.output import output_errors
from tokenfuse_export.reference import load_reference, open_bundle, reference_of
from tokenfuse_export.verify import (
    GoldenInputs,
    Reference,
    Verification,
    golden_inputs,
    inputs_of,
    verify_graphs,
)
from tokenfuse_sdk.atomic import atomic_folder
from tokenfuse_sdk.errors import (
    ConfigError,
    OutputExistsError,
    OutputPathError,
)
from tokenfuse_sdk.graphs import GRAPH_PRECISIONS
from tokenfuse_sdk.integers import checked_int
from tokenfuse_training.model import JointModel

__all__ = [
    "DEFAULT_OPSET",
    "ExportError",
    "OnnxExport",
    "export_onnx",
    "load_reference",
]

# LayerNormalization is an op since 17, Gelu since 20: as single nodes both are found by every
# runtime, without a pattern search. TensorRT 10.3 reads up to 20.
DEFAULT_OPSET = 20
_OPSETS = (17, 23)
# QuantizeLinear takes float16 since then.
_LEAST_OPSET_INT8_FP16 = 19


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OnnxExport:
    """What `export_onnx` wrote.

    Attributes:
        folder: with one folder per precision, in it one file `<graph>.onnx` per graph.
        precisions: in the order of `GRAPH_PRECISIONS`.
        opset: of the default domain, the only one.
        verified: each precision's graphs beside PyTorch.
        inputs: on which they were.
    """

    folder: pathlib.Path
    precisions: tuple[str, ...]
    opset: int
    verified: dict[str, Verification]
    inputs: GoldenInputs


def _checked_precisions(precisions: Sequence[str]) -> tuple[str, ...]:
    """The precisions without repetition, in their order.

    Raises:
        ConfigError: none, or one that graphs do not have.
    """
    wanted = (precisions,) if isinstance(precisions, str) else tuple(precisions)
    unknown = [name for name in wanted if name not in GRAPH_PRECISIONS]
    if unknown or not wanted:
        raise ConfigError(
            f"precisions={precisions!r}: pass one or more of {', '.join(GRAPH_PRECISIONS)}"
        )
    return tuple(name for name in GRAPH_PRECISIONS if name in wanted)


def _checked_opset(opset: int, precisions: Sequence[str]) -> int:
    opset = checked_int("opset", opset, *_OPSETS)
    if "int8_fp16" in precisions and opset < _LEAST_OPSET_INT8_FP16:
        raise ConfigError(
            f"opset={opset}: int8_fp16 needs {_LEAST_OPSET_INT8_FP16} and later; leave one of the "
            "two out"
        )
    return opset


def export_onnx(
    model: JointModel | str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    precisions: Sequence[str] = ("fp32",),
    opset: int = DEFAULT_OPSET,
    calibration: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    output: str | os.PathLike[str] | None = None,
    progress: Callable[[str], None] | None = None,
) -> OnnxExport:
    """Write the three graphs of a model in each precision and verify them beside PyTorch.

    Args:
        model: the float32 reference, the path of a bundle, or a shipped model's name.
        folder: made; holds `<precision>/<graph>.onnx`.
        precisions: of `GRAPH_PRECISIONS`.
        opset: 17 to 23.
        calibration: a folder of pictures, by which the precisions with int8 choose the scales of
            activations; None takes the bundle's golden inputs and variations of them.
        overwrite: replace a folder that is there.
        output: what errors name in place of `folder`, where that is on its way to it.
        progress: is told what is done, before each step.

    Returns:
        What was written, and how it agrees.

    Raises:
        UnsupportedModelError: the fusion is one of the baselines.
        ConfigError: a precision or opset that there is not, or a folder without pictures.
        ImageError: a picture of the folder cannot be read.
        OutputExistsError: the folder is there and `overwrite` is false.
        OutputPathError: its path is empty, it cannot be written, or the disk is full.
        ExportError: a package is missing, or the graphs do not verify; nothing is written.
    """
    need_packages()
    chosen = _checked_precisions(precisions)
    opset = _checked_opset(opset, chosen)
    if not os.fspath(folder):
        raise OutputPathError("folder='': need the path of a folder to make")
    target = pathlib.Path(folder)
    if target.exists() and not overwrite:
        raise OutputExistsError(f"{target} is there already; pass overwrite=True to replace it")
    tell = progress or (lambda what: None)
    bundle = None if isinstance(model, JointModel) else open_bundle(model)
    reference = model if isinstance(model, JointModel) else reference_of(bundle)
    check_model(reference.config)
    inputs = golden_inputs(reference) if bundle is None else inputs_of(bundle, reference)
    data = None
    if any(precision.startswith("int8") for precision in chosen):
        data = calibration_of(reference, inputs, calibration)
    was_training = reference.training
    reference.eval()
    try:
        with (
            output_errors("the graphs", pathlib.Path(output or target).absolute()),
            atomic_folder(target, overwrite=overwrite) as temporary,
        ):
            write_graphs(
                reference,
                temporary,
                precisions=chosen,
                opset=opset,
                weights_sha256="" if bundle is None else bundle.digest,
                calibration=data,
                progress=tell,
            )
            verified = _verified(reference, inputs, temporary, chosen, tell)
    finally:
        reference.train(was_training)
    return OnnxExport(
        folder=target, precisions=chosen, opset=opset, verified=verified, inputs=inputs
    )


def _verified(
    model: JointModel,
    inputs: GoldenInputs,
    folder: pathlib.Path,
    precisions: Sequence[str],
    progress: Callable[[str], None],
) -> dict[str, Verification]:
    progress("PyTorch's own answers")
    reference, found = Reference(model, inputs), {}
    for precision in precisions:
        found[precision] = verify_graphs(
            model, inputs, folder / precision, precision, reference=reference, progress=progress
        )
        found[precision].refuse()
    return found


def need_packages() -> None:
    """Raise ExportError where a package that writes or verifies ONNX is not installed."""
    needed = ("onnx", "onnxscript", "onnxruntime")
    lacking = [name for name in needed if importlib.util.find_spec(name) is None]
    if lacking:
        raise ExportError(
            f"exporting to ONNX needs the packages {', '.join(lacking)}; run "
            f"`pip install {' '.join(lacking)}`"
        )
