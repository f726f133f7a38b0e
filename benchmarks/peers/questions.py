"""What is asked: random noise for random weights, unseen scenes for a trained bundle.

A bundle whose tokenizer knows the words of scenes gets pictures and questions of their test
split, and for calibration those of the validation split; then its answers can be counted too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
from work import TEXT_TOKENS, Floats, Ids

from tokenfuse_sdk.bundle import Bundle
from tokenfuse_sdk.config import ModelConfig
from tokenfuse_sdk.preprocess import preprocess
from tokenfuse_training.data.scenes import render, sample_scene, scene_questions

__all__ = ["Asked", "Source", "knows_scenes", "random_questions", "scenes_questions"]

# Not the recipe's seed: neither training nor the model card has seen these scenes.
_SEED = 20_261
_PER_SCENE = 16


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One question.

    Attributes:
        picture: its number; questions of one picture follow each other.
        image_HW3: prepared.
        text_L: ids with the end.
        right_A: the right answer's ids, None where there is none.
    """

    picture: int
    image_HW3: Floats
    text_L: Ids
    right_A: Ids | None


# A split's name to its questions, without end.
Source = Callable[[str], Iterator[Asked]]


def random_questions(config: ModelConfig) -> Source:
    """Noise as pictures, random ids as questions of `TEXT_TOKENS`."""
    side, vocab_size = config.vision.image_size, config.text.vocab_size

    def source(split: str) -> Iterator[Asked]:
        rng = np.random.default_rng(0 if split == "test" else 1)
        picture = 0
        while True:
            image = rng.uniform(-1, 1, (side, side, 3)).astype(np.float32)
            text = rng.integers(2, vocab_size, TEXT_TOKENS).astype(np.int32)
            yield Asked(picture=picture, image_HW3=image, text_L=text, right_A=None)
            picture += 1

    return source


def scenes_questions(bundle: Bundle) -> Source:
    """Questions about scenes in the bundle's own ids."""
    text, decoder = bundle.config.text, bundle.config.decoder

    def source(split: str) -> Iterator[Asked]:
        picture = 0
        while True:
            scene = sample_scene(split, picture, seed=_SEED)
            image = preprocess(render(scene, bundle.config.vision.image_size), bundle.preprocess)
            for question in scene_questions(
                scene, split, picture, seed=_SEED, num_questions=_PER_SCENE
            ):
                yield Asked(
                    picture=picture,
                    image_HW3=image,
                    text_L=bundle.tokenizer.encode(f"answer: {question.text}", text.max_tokens),
                    right_A=bundle.tokenizer.encode(question.answer, decoder.max_tokens),
                )
            picture += 1

    return source


def knows_scenes(bundle: Bundle) -> bool:
    """Whether the words of a hundred questions are all in the vocabulary."""
    for picture in range(_PER_SCENE):
        scene = sample_scene("val", picture, seed=_SEED)
        for question in scene_questions(scene, "val", picture, seed=_SEED, num_questions=8):
            if bundle.tokenizer.unknown_words(f"answer: {question.text} {question.answer}"):
                return False
    return True
