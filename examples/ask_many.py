"""Encode a picture once, ask it much, keep what is left of it: a few kilobytes.

python examples/ask_many.py [PICTURE]
"""

from __future__ import annotations

import pathlib
import sys
import tempfile

import tokenfuse_sdk as tf

QUESTIONS = [
    "how many things are there?",
    "is there a star?",
    "how many red things are there?",
    "are there more shapes than digits?",
]


def main() -> None:
    picture = sys.argv[1] if len(sys.argv) > 1 else tf.example_images()[0]
    with tf.load("scenes-nano") as model:
        tokens = model.encode_image(picture)
        print(f"the picture became {tokens.num_tokens} tokens, {tokens.num_bytes} bytes")
        for question in QUESTIONS:
            answer = model.answer(tokens, question)
            print(f"{answer.timings.generate_ms:6.2f} ms  {question}  {answer.text}")
        # Fewer tokens cost less and know less.
        for budget in model.config.fusion.token_budgets:
            answer = model.answer(tokens, QUESTIONS[0], token_budget=budget)
            print(f"with {budget:2} tokens: {answer.text} ({100 * answer.confidence:.0f}% sure)")
        # Tomorrow, without the picture.
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "picture.safetensors"
            tokens.save(path)
            kept = tf.ImageTokens.load(path)
            print(f"from {path.stat().st_size} bytes on disk: {model.caption(kept).text}")


if __name__ == "__main__":
    main()
