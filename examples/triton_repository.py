"""Write a model repository for NVIDIA's Triton Inference Server from an exported bundle.

    python examples/triton_repository.py BUNDLE REPOSITORY [--precision fp32 | --engines NAME]
    tritonserver --model-repository=REPOSITORY

Four models: the three graphs, and `answer`, which takes a picture's file and questions and runs
the graphs inside the server. `--engines sm_87-fp16` takes engines of `tokenfuse build` in place of
the ONNX files: of batch 1, and built by the server's own version of TensorRT.
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
from tokenfuse_sdk.engine_file import EngineFile
from tokenfuse_sdk.errors import TokenfuseError
from tokenfuse_sdk.graphs import GRAPHS, fused_cache, known_cache

HERE = pathlib.Path(__file__).parent
ENGINE = 'backend: "tensorrt"'
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
            # Engines are built without the map of tokens.
            if tensor.name == "weights_BNS" and ENGINE in settings:
                continue
            dims = ", ".join(map(str, tensor.axes))
            fields = f'name: "{tensor.name}" data_type: TYPE_{tensor.dtype} dims: [ {dims} ]'
            if tensor.is_optional:
                fields += " optional: true"
            lines.append(f"{kind} {{ {fields} }}")
    return "\n".join(lines) + "\n"


def write_onnx(bundle: Bundle, precision: str, folder: pathlib.Path, max_batch: int) -> None:
    """The graphs as models of ONNX Runtime."""
    files = bundle.open_group(f"onnx/{precision}")
    # Requests whose tensors have the same shapes are run together: pictures always, questions of
    # one padded length, answers at the same step. None waits for others.
    settings = ('backend: "onnxruntime"', f"max_batch_size: {max_batch}", "dynamic_batching { }")
    for graph in GRAPHS:
        version = new_model(folder, graph, bundle.config, *settings)
        name, data = f"{graph}.onnx", f"{graph}.onnx.data"
        if data in files:
            # A model of several files is a folder of that name.
            version = version / "model.onnx"
            version.mkdir()
            (version / data).write_bytes(files[data].data)
        (version / "model.onnx").write_bytes(files[name].data)


def write_engines(bundle: Bundle, engines: str, folder: pathlib.Path) -> None:
    """The graphs as models of TensorRT: for one picture or question at once.

    Raises:
        ValueError: Triton cannot run them.
    """
    files = bundle.open_group(f"engines/{engines}")
    made = EngineFile.of_group(files)
    if made.key.flavour != "tensorrt" or 1 not in made.key.batches:
        raise ValueError(
            f"the engines {engines} are of {made.key.flavour} for the batches "
            f"{list(made.key.batches)}; Triton needs those of tensorrt, and `answer` batch 1"
        )
    for graph in GRAPHS:
        # The server takes the profile that fits a request best.
        wanted = [
            str(profile.index)
            for profile in made.profiles
            if profile.graph == graph and profile.batch == 1 and profile.kind != "score"
        ]
        profiles = ", ".join(f'"{index}"' for index in wanted)
        group = f"instance_group {{ count: 1 kind: KIND_GPU profile: [ {profiles} ] }}"
        version = new_model(folder, graph, bundle.config, ENGINE, "max_batch_size: 1", group)
        (version / "model.plan").write_bytes(files[f"{graph}.engine"].data)


def new_model(folder: pathlib.Path, name: str, config: ModelConfig, *settings: str) -> pathlib.Path:
    """A model with its settings; gives the folder of its first version."""
    version = folder / name / "1"
    version.mkdir(parents=True)
    text = config_text(name, config, *settings)
    (folder / name / "config.pbtxt").write_text(text, encoding="utf-8")
    return version


def write_answer(bundle: Bundle, folder: pathlib.Path, instances: int) -> None:
    """The model that runs the others; an instance is a process, and answers one request."""
    group = f"instance_group {{ count: {instances} kind: KIND_CPU }}"
    settings = ('backend: "python"', "max_batch_size: 0", group)
    version = new_model(folder, "answer", bundle.config, *settings)
    for name in FACTS:
        shutil.copy(bundle.path / name, version)
    shutil.copy(HERE / "triton_model.py", version / "model.py")
    shutil.copy(HERE / "foreign_runtime.py", version)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=pathlib.Path)
    parser.add_argument("repository", type=pathlib.Path, help="a new folder")
    parser.add_argument("--precision", default="fp32", help="a folder of BUNDLE/onnx")
    parser.add_argument("--engines", help="in place of that, a folder of BUNDLE/engines")
    parser.add_argument("--max-batch", type=int, default=8, help="pictures or questions at once")
    parser.add_argument("--instances", type=int, default=2, help="requests answered at once")
    arguments = parser.parse_args()
    if arguments.repository.exists():
        sys.exit(f"error: {arguments.repository} exists; pass another folder")
    try:
        bundle = read_bundle(arguments.bundle)
        with atomic_folder(arguments.repository, overwrite=False) as folder:
            if arguments.engines:
                write_engines(bundle, arguments.engines, folder)
            else:
                write_onnx(bundle, arguments.precision, folder, arguments.max_batch)
            write_answer(bundle, folder, arguments.instances)
    except (TokenfuseError, ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    print(f"wrote {arguments.repository}", file=sys.stderr)


if __name__ == "__main__":
    main()
