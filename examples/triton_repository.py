"""Write a model repository for NVIDIA's Triton Inference Server from an exported bundle.

    python examples/triton_repository.py BUNDLE REPOSITORY [--precision fp32]
    tritonserver --model-repository=REPOSITORY

Four models: the three graphs, and `answer`, which takes a picture's file and questions and runs
the graphs inside the server.
"""

from __future__ import annotations

import argparse
import pathlib
import shutil
import sys
from collections.abc import Sequence
from typing import NamedTuple

from tokenfuse_sdk.atomic import atomic_folder
from tokenfuse_sdk.bundle import Bundle, read_bundle
from tokenfuse_sdk.config import ModelConfig
from tokenfuse_sdk.errors import TokenfuseError
from tokenfuse_sdk.graphs import GRAPHS, fused_cache, known_cache

HERE = pathlib.Path(__file__).parent
# What `answer` reads beside its code.
FACTS = ("config.json", "preprocessor_config.json", "tokenizer.json")


class Tensor(NamedTuple):
    name: str
    dtype: str
    # Without the batch; -1 is free.
    axes: Sequence[int]
    is_optional: bool = False


def tensors_of(config: ModelConfig) -> dict[str, tuple[list[Tensor], list[Tensor]]]:
    """Inputs and outputs of each model."""
    side, width = config.vision.image_size, config.fusion.width
    latents, places = config.fusion.num_latents, config.vision.num_tokens
    words, decoder = config.text.vocab_size, config.decoder
    cache = (decoder.num_heads, -1, decoder.head_dim)

    def kept(names: Sequence[str]) -> list[Tensor]:
        return [Tensor(name, "FP32", cache) for name in names]

    tokens = (-1, width)
    return {
        "image_encoder": (
            [Tensor("image_BHW3", "FP32", (side, side, 3))],
            [
                Tensor("f_BND", "FP32", (latents, width)),
                Tensor("weights_BNS", "FP32", (latents, places)),
            ],
        ),
        "text_fusion": (
            [Tensor("f_BND", "FP32", tokens), Tensor("text_BL", "INT32", (-1,))],
            [
                Tensor("fused_BNT", "FP32", (-1, config.text.width)),
                *kept(fused_cache(config, "present")),
            ],
        ),
        "decoder": (
            [
                Tensor("answer_BA", "INT32", (-1,)),
                *kept((*known_cache(config), *fused_cache(config))),
            ],
            [
                Tensor("logits_BAV", "FP32", (-1, words)),
                *kept(known_cache(config, "present")),
            ],
        ),
        "answer": (
            [
                Tensor("image", "STRING", (1,), is_optional=True),
                Tensor("image_tokens", "FP32", tokens, is_optional=True),
                Tensor("questions", "STRING", (-1,)),
            ],
            [
                Tensor("answers", "STRING", (-1,)),
                Tensor("confidences", "FP32", (-1,)),
                Tensor("image_tokens", "FP32", tokens),
            ],
        ),
    }


def config_text(name: str, config: ModelConfig, *settings: str) -> str:
    """A `config.pbtxt`."""
    lines = [f'name: "{name}"', *settings]
    for kind, tensors in zip(("input", "output"), tensors_of(config)[name], strict=True):
        for tensor in tensors:
            dims = ", ".join(map(str, tensor.axes))
            fields = f'name: "{tensor.name}" data_type: TYPE_{tensor.dtype} dims: [ {dims} ]'
            if tensor.is_optional:
                fields += " optional: true"
            lines.append(f"{kind} {{ {fields} }}")
    return "\n".join(lines) + "\n"


def write_graph(
    bundle: Bundle, precision: str, graph: str, model: pathlib.Path, batch: int
) -> None:
    """One graph as a model of ONNX Runtime."""
    # Requests whose tensors have the same shapes are run together: pictures always, questions of
    # one padded length, answers at the same step. None waits for others.
    settings = ('backend: "onnxruntime"', f"max_batch_size: {batch}", "dynamic_batching { }")
    (model / "1").mkdir(parents=True)
    (model / "config.pbtxt").write_text(config_text(graph, bundle.config, *settings))
    source = bundle.path / "onnx" / precision
    data = source / f"{graph}.onnx.data"
    if data.exists():
        # A model of several files is a folder of the model file's name.
        (model / "1" / "model.onnx").mkdir()
        shutil.copy(data, model / "1" / "model.onnx")
        shutil.copy(source / f"{graph}.onnx", model / "1" / "model.onnx" / "model.onnx")
    else:
        shutil.copy(source / f"{graph}.onnx", model / "1" / "model.onnx")


def write_answer(bundle: Bundle, model: pathlib.Path, instances: int) -> None:
    """The model that runs the others; an instance is a process, and answers one request."""
    settings = (
        'backend: "python"',
        "max_batch_size: 0",
        f"instance_group {{ count: {instances} kind: KIND_CPU }}",
    )
    (model / "1").mkdir(parents=True)
    (model / "config.pbtxt").write_text(config_text("answer", bundle.config, *settings))
    for name in FACTS:
        shutil.copy(bundle.path / name, model / "1")
    shutil.copy(HERE / "triton_model.py", model / "1" / "model.py")
    shutil.copy(HERE / "foreign_runtime.py", model / "1")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=pathlib.Path)
    parser.add_argument("repository", type=pathlib.Path, help="a new folder")
    parser.add_argument("--precision", default="fp32", help="a folder of BUNDLE/onnx")
    parser.add_argument("--max-batch", type=int, default=8, help="pictures or questions at once")
    parser.add_argument("--instances", type=int, default=2, help="requests answered at once")
    arguments = parser.parse_args()
    if arguments.repository.exists():
        sys.exit(f"error: {arguments.repository} exists; pass another folder")
    try:
        bundle = read_bundle(arguments.bundle)
        # Its files, verified.
        with bundle.open_group(f"onnx/{arguments.precision}"):
            pass
    except TokenfuseError as error:
        sys.exit(f"error: {error}")
    with atomic_folder(arguments.repository, overwrite=False) as folder:
        for graph in GRAPHS:
            write_graph(bundle, arguments.precision, graph, folder / graph, arguments.max_batch)
        write_answer(bundle, folder / "answer", arguments.instances)
    print(f"wrote {arguments.repository}", file=sys.stderr)


if __name__ == "__main__":
    main()
