"""The CPU engine against the same model in PyTorch eager: encode a picture, answer a question.

Random weights of the named sizes; both write the same number of tokens, one step after the
other. PyTorch's decoder has no cache of keys and values, as the reference has none, so the
answer is kept at two tokens, which is what most answers are.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from timing import Case, main

from tokenfuse_sdk import _native
from tokenfuse_sdk.sizes import named_config
from tokenfuse_training.model import JointModel

_ANSWER_TOKENS = 2


def _close(got: np.ndarray, want: np.ndarray) -> None:
    scale = np.sqrt(np.mean(want**2))
    assert np.abs(got - want).max() < 1e-4 * scale * 10, "the contestants do not agree"


def cases(options: argparse.Namespace) -> list[Case]:
    made = []
    for size in ("nano", "tiny"):
        torch.manual_seed(0)
        torch.set_num_threads(options.num_threads)
        config = named_config(size)
        model = JointModel(config).eval()
        weights = {name: t.numpy() for name, t in model.state_dict().items()}
        engine = _native.CpuEngine(config.to_dict(), weights, num_threads=options.num_threads)
        rng = np.random.default_rng(0)
        side, budget = config.vision.image_size, config.fusion.num_latents
        image = rng.uniform(-1, 1, (side, side, 3)).astype(np.float32)
        text = rng.integers(2, config.text.vocab_size, 11).astype(np.int32)
        t_image, t_text = torch.from_numpy(image)[None], torch.from_numpy(text)[None].long()
        f_ND = engine.encode_image(image, budget)
        with torch.inference_mode():
            t_f = model.encode_image(t_image)

        def encode_ours(engine=engine, image=image, budget=budget):
            return engine.encode_image(image, budget)

        def encode_torch(model=model, t_image=t_image):
            with torch.inference_mode():
                return model.encode_image(t_image)

        def answer_ours(engine=engine, f_ND=f_ND, text=text):
            return engine.generate(f_ND, text, _ANSWER_TOKENS)

        def answer_torch(model=model, t_f=t_f, t_text=t_text):
            with torch.inference_mode():
                return model.generate(t_f, t_text, max_tokens=_ANSWER_TOKENS)

        def check_encode(a=encode_ours, b=encode_torch):
            _close(a(), b()[0].numpy())

        def check_answer(a=answer_ours, b=answer_torch):
            np.testing.assert_array_equal(a()[0], b()[0].numpy())

        made.append(
            Case(
                name=f"{size}: encode a picture ({side} x {side}), N = {budget}",
                contestants={f"tokenfuse {engine.isa}": encode_ours, "torch": encode_torch},
                check=check_encode,
            )
        )
        made.append(
            Case(
                name=f"{size}: answer of {_ANSWER_TOKENS} tokens from image tokens",
                contestants={f"tokenfuse {engine.isa}": answer_ours, "torch": answer_torch},
                check=check_answer,
            )
        )
    return made


if __name__ == "__main__":
    main("the CPU engine against PyTorch eager", cases)
