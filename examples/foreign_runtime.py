"""Answer questions about a picture from an exported bundle, with a runtime that is not ours.

    python examples/foreign_runtime.py BUNDLE PICTURE QUESTION [QUESTION ...] [--runtime openvino]

It needs NumPy, Pillow, `tokenizers` and the runtime, and nothing of tokenfuse: it is all that
another program has to do. It verifies nothing: `tokenfuse info` and `tokenfuse verify` tell whether
BUNDLE is whole and computes what it should. `tokenfuse export -m scenes-nano -o BUNDLE` writes one.

Shapes: B = 1 picture, H its side, N image tokens of width D, L ids of the question, A new ids of
the answer, P those before them, V words.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import pathlib
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps
from tokenizers import Tokenizer

PAD, END = 0, 1
GRAPHS = ("image_encoder", "text_fusion", "decoder")
# A graph's name and its inputs, to its outputs.
Run = Callable[[str, dict[str, np.ndarray]], dict[str, np.ndarray]]


class Facts(NamedTuple):
    """What of a bundle is no graph."""

    config: dict[str, Any]
    preprocess: dict[str, Any]
    tokenizer: Tokenizer


def read_facts(folder: pathlib.Path) -> Facts:
    config, preprocess = (
        json.loads((folder / name).read_text(encoding="utf-8"))
        for name in ("config.json", "preprocessor_config.json")
    )
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    # "</s>" in a question is text, not its end.
    tokenizer.encode_special_tokens = True
    return Facts(config, preprocess, tokenizer)


def prepare(picture: bytes, preprocess: dict[str, Any]) -> np.ndarray:
    """A picture's file as the model takes it: float32 (1, H, H, 3).

    The SDK also knows 16-bit grey, and shrinks what is longer than 4,096 pixels before it pads.
    """
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(picture)))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    image = image.convert("RGB")
    if preprocess["fit"] == "pad":
        image = pad_to_square(image)
    size = preprocess["size"]
    image = image.resize((size["width"], size["height"]), preprocess["resample"])
    mean, std = (np.asarray(preprocess[f"image_{part}"]) for part in ("mean", "std"))
    scale = (preprocess["rescale_factor"] / std).astype(np.float32)
    return (np.asarray(image, np.float32) * scale + (-mean / std).astype(np.float32))[None]


def pad_to_square(image: Image.Image) -> Image.Image:
    """With the mean colour of the border, the picture in the middle."""
    if image.width == image.height:
        return image
    pixels = np.asarray(image)
    border = [pixels[0], pixels[-1], pixels[1:-1, 0], pixels[1:-1, -1]]
    colour = np.floor(np.concatenate(border).mean(axis=0, dtype=np.float64) + 0.5)
    side = max(image.size)
    square = Image.new("RGB", (side, side), tuple(int(value) for value in colour))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def text_ids(facts: Facts, text: str) -> np.ndarray:
    """Ids int32 (1, L) of a task's prefix and a question, padded to one of a few lengths.

    Any length gives the same answer; a few are what runtimes plan once, and engines begin at 16.
    """
    ids = [*facts.tokenizer.encode(text, add_special_tokens=False).ids, END]
    most = facts.config["text"]["max_tokens"]
    if len(ids) > most:
        raise ValueError(f"the question has {len(ids)} tokens with its end; at most {most}")
    length = 16
    while length < len(ids):
        length *= 2
    text_BL = np.full((1, min(length, most)), PAD, np.int32)
    text_BL[0, : len(ids)] = ids
    return text_BL


def encode(facts: Facts, run: Run, picture: bytes) -> np.ndarray:
    """All N tokens of a picture. A smaller budget n is `f_BND[:, :n]`: exact, and cheaper."""
    return run("image_encoder", {"image_BHW3": prepare(picture, facts.preprocess)})["f_BND"]


def answer(facts: Facts, run: Run, f_BND: np.ndarray, question: str) -> tuple[str, float]:
    """The greedy answer to a question, and its probability."""
    ids, log_prob = [], 0.0
    inputs = first_inputs(facts, run, f_BND, text_ids(facts, f"answer: {question}"))
    while len(ids) < facts.config["decoder"]["max_tokens"] and END not in ids:
        outputs = run("decoder", inputs)
        logits_V = outputs["logits_BAV"][0, -1].astype(np.float64)
        top = int(logits_V.argmax())
        log_prob -= math.log(np.exp(logits_V - logits_V[top]).sum())
        ids.append(top)
        inputs["answer_BA"] = np.array([[top]], np.int32)
        inputs.update(as_past(outputs))
    return facts.tokenizer.decode([i for i in ids if i not in (PAD, END)]), math.exp(log_prob)


def first_inputs(
    facts: Facts, run: Run, f_BND: np.ndarray, text_BL: np.ndarray
) -> dict[str, np.ndarray]:
    """What the decoder's first step gets: the start id, no known ids, the fused tokens."""
    decoder = facts.config["decoder"]
    fused = run("text_fusion", {"f_BND": f_BND, "text_BL": text_BL})
    nothing = np.zeros((1, decoder["num_heads"], 0, decoder["head_dim"]), np.float32)
    inputs = {"answer_BA": np.array([[PAD]], np.int32), **as_past(fused)}
    for i in range(decoder["num_layers"]):
        for part in ("key", "value"):
            inputs[f"past_key_values.{i}.decoder.{part}"] = nothing
    return inputs


def as_past(outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Keys and values that a graph gave, under the names by which the decoder takes them."""
    return {
        name.replace("present", "past_key_values"): value
        for name, value in outputs.items()
        if name.startswith("present.")
    }


def open_onnxruntime(folder: pathlib.Path) -> Run:
    import onnxruntime

    sessions = {
        graph: onnxruntime.InferenceSession(
            folder / f"{graph}.onnx", providers=["CPUExecutionProvider"]
        )
        for graph in GRAPHS
    }

    def run(graph: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        names = [output.name for output in sessions[graph].get_outputs()]
        return dict(zip(names, sessions[graph].run(names, inputs), strict=True))

    return run


def open_openvino(folder: pathlib.Path) -> Run:
    import openvino

    core = openvino.Core()
    # Where the CPU has bfloat16, OpenVINO would take it for a float32 graph too.
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = {
        graph: core.compile_model(folder / f"{graph}.onnx", "CPU", exact) for graph in GRAPHS
    }

    def run(graph: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        values = compiled[graph](inputs)
        # What OpenVINO folds away leaves its name to what stays.
        return {name: value for port, value in values.items() for name in port.names}

    return run


RUNTIMES = {"onnxruntime": open_onnxruntime, "openvino": open_openvino}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=pathlib.Path)
    parser.add_argument("picture", type=pathlib.Path)
    parser.add_argument("questions", nargs="+", metavar="question")
    parser.add_argument("--runtime", choices=RUNTIMES, default="onnxruntime")
    parser.add_argument("--precision", default="fp32", help="a folder of BUNDLE/onnx")
    arguments = parser.parse_args()
    try:
        print_answers(arguments)
    # A runtime's errors have no class in common; a program of yours may tell more of them apart.
    except Exception as error:
        sys.exit("error: " + " ".join(f"{type(error).__name__}: {error}".split()))


def print_answers(arguments: argparse.Namespace) -> None:
    facts = read_facts(arguments.bundle)
    run = RUNTIMES[arguments.runtime](arguments.bundle / "onnx" / arguments.precision)
    f_BND = encode(facts, run, arguments.picture.read_bytes())
    for question in arguments.questions:
        text, probability = answer(facts, run, f_BND, question)
        print(f"{question}  {text} ({100 * probability:.0f}%)")


if __name__ == "__main__":
    main()
