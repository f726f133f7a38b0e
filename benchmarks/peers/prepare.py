"""Write what all contestants read: weights, inputs, the reference's answers, ONNX graphs.

Run in a process of its own, `prepare.py MODEL FOLDER BATCH...`, so that the one that times
never loads a framework. The graphs need onnx and onnxscript; without them the runtimes that
read graphs are reported as missing.
"""

from __future__ import annotations

import importlib.util
import json
import pathlib
import sys

import numpy as np
import torch
from safetensors.numpy import save_file
from work import ANSWER_TOKENS, GRAPHS, TEXT_TOKENS, forced

from tokenfuse_sdk.sizes import SIZES, named_config
from tokenfuse_training.model import JointModel

_TRIES = 200


def _model(name: str) -> JointModel:
    if name in SIZES:
        torch.manual_seed(0)
        return JointModel(named_config(name)).eval()
    from tokenfuse_export.to_onnx import load_reference

    return load_reference(name)


def _inputs(model: JointModel, batch_size: int) -> dict[str, np.ndarray]:
    config, rng = model.config, np.random.default_rng(0)
    side = config.vision.image_size
    image = rng.uniform(-1, 1, (batch_size, side, side, 3)).astype(np.float32)
    f_BND = model.encode_image(torch.from_numpy(image))
    rows: list[np.ndarray] = []
    for _ in range(_TRIES * batch_size):
        if len(rows) == batch_size:
            break
        text = rng.integers(2, config.text.vocab_size, TEXT_TOKENS).astype(np.int32)
        f_1ND = f_BND[len(rows)][None]
        ids = model.generate(f_1ND, torch.from_numpy(text)[None], max_tokens=ANSWER_TOKENS)
        # An answer that ends at once would save some contestants the second step.
        if ids.shape[1] == ANSWER_TOKENS:
            rows.append(np.concatenate([text, ids[0].numpy().astype(np.int32)]))
    if len(rows) < batch_size:
        sys.exit("the model answers random questions with nothing; no fair inputs were found")
    both = np.stack(rows)
    text, answer = both[:, :TEXT_TOKENS], both[:, TEXT_TOKENS:]
    fused, mask = model.fuse(f_BND, torch.from_numpy(text))
    given = torch.from_numpy(forced(answer, config.start_id))
    logits = model.decode(given, fused, mask).numpy()
    return {"image_BHW3": image, "text_BL": text, "answer_BA": answer, "logits_BAV": logits}


def _fix_lengths(path: pathlib.Path) -> None:
    """Give the free axes their lengths: every runtime plans better for fixed shapes."""
    import onnx

    lengths = {"num_text_tokens": TEXT_TOKENS, "num_answer_tokens": ANSWER_TOKENS}
    proto = onnx.load(path)
    for value in (*proto.graph.input, *proto.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_value = lengths[dim.dim_param]
    del proto.graph.value_info[:]
    onnx.save(onnx.shape_inference.infer_shapes(proto), path)


def main() -> None:
    name, folder, batches = sys.argv[1], pathlib.Path(sys.argv[2]), map(int, sys.argv[3:])
    model = _model(name)
    (folder / "config.json").write_text(json.dumps(model.config.to_dict()), encoding="utf-8")
    weights = {key: value.numpy() for key, value in model.state_dict().items()}
    save_file(weights, folder / "weights.safetensors")
    can_export = all(importlib.util.find_spec(part) for part in ("onnx", "onnxscript"))
    for batch_size in batches:
        batch_folder = folder / f"batch{batch_size}"
        if can_export:
            from tokenfuse_export.to_onnx import export_onnx

            export_onnx(model, batch_folder, batch_size=batch_size)
            for graph in GRAPHS:
                _fix_lengths(batch_folder / f"{graph}.onnx")
        batch_folder.mkdir(exist_ok=True)
        with torch.inference_mode():
            np.savez(batch_folder / "inputs.npz", **_inputs(model, batch_size))


if __name__ == "__main__":
    main()
