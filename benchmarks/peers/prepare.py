"""Write what all contestants read: weights, inputs, the reference's answers, ONNX graphs.

Run in a process of its own, `prepare.py MODEL FOLDER NUM_QUESTIONS BATCH...`, so that the one
that times never loads a framework. The graphs need onnx, onnxscript and onnxruntime; without
them the runtimes that read graphs are reported as missing. `NUM_QUESTIONS` of the test are
written for a bundle that knows their words, else none.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import pathlib
import sys
from collections.abc import Iterator

import numpy as np
import questions
import torch
from reference import answer_of, inputs_of, open_reference
from safetensors.numpy import save_file
from work import ANSWER_TOKENS, GRAPHS, QUESTIONS, batch_part

from tokenfuse_sdk.errors import TokenfuseError
from tokenfuse_training.model import JointModel

# Pictures for a quantiser: noise tells it no more with more of it.
_NOISE_PICTURES, _SCENE_PICTURES = 8, 128


def _padded(rows: list[np.ndarray], length: int) -> np.ndarray:
    return np.stack([np.pad(row, (0, length - len(row))) for row in rows]).astype(np.int32)


def _test(
    model: JointModel, asked: Iterator[questions.Asked], num_questions: int
) -> dict[str, np.ndarray]:
    """Arrays of `work.Questions`; answers of more than `ANSWER_TOKENS` are not asked for."""
    fitting = (one for one in asked if len(one.right_A) <= ANSWER_TOKENS)
    chosen = list(itertools.islice(fitting, num_questions))
    pictures = {one.picture: one.image_HW3 for one in chosen}
    places = {picture: place for place, picture in enumerate(pictures)}
    text_QL = _padded([one.text_L for one in chosen], max(len(one.text_L) for one in chosen))
    f_PND = torch.cat([model.encode_image(torch.from_numpy(p)[None]) for p in pictures.values()])
    picture_Q = np.asarray([places[one.picture] for one in chosen])
    return {
        "image_PHW3": np.stack(list(pictures.values())),
        "picture_Q": picture_Q.astype(np.int32),
        "text_QL": text_QL,
        "answer_QA": answer_of(model, f_PND[torch.from_numpy(picture_Q)], text_QL),
        "right_QA": _padded([one.right_A for one in chosen], ANSWER_TOKENS),
        "end_id": np.int32(model.config.eos_id),
    }


def _calibration(
    asked: Iterator[questions.Asked], num_pictures: int, batch_size: int, text_length: int
) -> dict[str, np.ndarray]:
    """Questions of at most the length, one a picture, in batches."""
    fitting = (one for one in asked if len(one.text_L) <= text_length)
    firsts = (next(group) for _, group in itertools.groupby(fitting, lambda one: one.picture))
    num_batches = max(2, num_pictures // batch_size)
    chosen = list(itertools.islice(firsts, num_batches * batch_size))
    image = np.stack([one.image_HW3 for one in chosen])
    text = _padded([one.text_L for one in chosen], text_length)
    return {
        "image_CBHW3": image.reshape(num_batches, batch_size, *image.shape[1:]),
        "text_CBL": text.reshape(num_batches, batch_size, text_length),
    }


def _fix_lengths(path: pathlib.Path, target: pathlib.Path, lengths: dict[str, int]) -> None:
    """Give the free axes their lengths: every runtime plans better for fixed shapes.

    What nobody reads is no output: the next cache of known ids, and the token map.
    """
    import onnx

    proto = onnx.load(path)
    graph = proto.graph
    for value in [v for v in graph.output if v.name == "weights_BNS" or ".decoder." in v.name]:
        graph.output.remove(value)
    for value in (*graph.input, *graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_value = lengths[dim.dim_param]
    del graph.value_info[:]
    onnx.save(onnx.shape_inference.infer_shapes(proto), target)


def _export(model: JointModel, folder: pathlib.Path) -> pathlib.Path | None:
    """The graphs with free axes; None where a package is missing."""
    if not all(map(importlib.util.find_spec, ("onnx", "onnxscript", "onnxruntime"))):
        return None
    from tokenfuse_export.to_onnx import export_onnx

    return export_onnx(model, folder / "graphs").folder / "fp32"


def main() -> None:
    model_name, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    num_questions, *batches = map(int, sys.argv[3:])
    model, source, has_answers = open_reference(model_name)
    (folder / "config.json").write_text(json.dumps(model.config.to_dict()), encoding="utf-8")
    weights = {key: value.numpy() for key, value in model.state_dict().items()}
    halves = {key: value.astype(np.float16) for key, value in weights.items()}
    exact = all(np.array_equal(halves[key], value) for key, value in weights.items())
    save_file(halves if exact else weights, folder / "weights.safetensors")
    with torch.inference_mode():
        parts = {
            batch_part(size): (size, inputs_of(model, source("test"), size)) for size in batches
        }
        if has_answers and num_questions:
            parts[QUESTIONS] = (1, _test(model, source("test"), num_questions))
    graphs = _export(model, folder)
    num_pictures = _SCENE_PICTURES if has_answers else _NOISE_PICTURES
    for part, (batch_size, arrays) in parts.items():
        length = arrays["text_QL" if part == QUESTIONS else "text_BL"].shape[1]
        (folder / part).mkdir()
        lengths = {
            "batch": batch_size,
            "num_latents": model.config.fusion.num_latents,
            "num_text_tokens": length,
            "num_answer_tokens": ANSWER_TOKENS,
            # Both ids of an answer are run in every step: none is known.
            "num_past_tokens": 0,
        }
        for name in GRAPHS if graphs is not None else ():
            _fix_lengths(graphs / f"{name}.onnx", folder / part / f"{name}.onnx", lengths)
        np.savez(folder / part / "inputs.npz", **arrays)
        calibration = _calibration(source("val"), num_pictures, batch_size, length)
        np.savez(folder / part / "calibration.npz", **calibration)


if __name__ == "__main__":
    try:
        main()
    except TokenfuseError as error:
        sys.exit(str(error))
