"""Stepping stones: their answers by an independent look at the scene."""

from __future__ import annotations

import re

from tokenfuse_training.data.scenes.rng import Rng, stream_key
from tokenfuse_training.data.scenes.sampling import sample_scene
from tokenfuse_training.data.scenes.stones import ask_stones
from tokenfuse_training.data.scenes.vocabulary import build_tokenizer

_UNKNOWN = 2


def fits(item, phrase: str) -> bool:
    *color, noun = phrase.split()
    noun = noun.removesuffix("s")
    kind = {
        "thing": True,
        "object": True,
        "digit": item.kind == "digit",
        "shape": item.kind != "digit",
    }
    return (not color or item.color == color[0]) and kind.get(noun, item.name == noun)


def only(scene, phrase: str):
    (item,) = [item for item in scene.objects if fits(item, phrase)]
    return item


def test_every_answer_is_true():
    tokenizer = build_tokenizer()
    seen = set()
    for index in range(400):
        scene = sample_scene("train", index, seed=11)
        rng = Rng(stream_key(11, "train", index, "stones"))
        questions = ask_stones(scene, rng, num_questions=6)
        assert len(questions) == 6
        for question in questions:
            assert _UNKNOWN not in tokenizer.encode(question.text).ids
            seen.add(question.family)
            if found := re.fullmatch(r"what is the (.+) to the picture\?", question.text):
                item = only(scene, found[1])
                column, row = map(int, question.answer.split())
                assert column / 8 <= item.x < (column + 1) / 8
                assert row / 8 <= item.y < (row + 1) / 8
            elif found := re.fullmatch(r"what is the (.+) to the (.+)\?", question.text):
                first, second = (only(scene, phrase) for phrase in found.groups())
                for word in question.answer.split():
                    assert {
                        "left": first.x < second.x,
                        "right": first.x > second.x,
                        "above": first.y < second.y,
                        "below": first.y > second.y,
                    }[word]
            elif found := re.fullmatch(r"how many (.+) and (.+) are there\?", question.text):
                counts = [sum(fits(i, phrase) for i in scene.objects) for phrase in found.groups()]
                assert question.answer == f"{counts[0]} {counts[1]}"
            else:
                found = re.fullmatch(r"what color are the (.+) and the (.+)\?", question.text)
                items = [only(scene, phrase) for phrase in found.groups()]
                assert question.answer == f"{items[0].color} {items[1].color}"
    assert seen == {"place", "counts", "colors", "spot"}


def test_the_same_seed_asks_the_same():
    scene = sample_scene("train", 3, seed=11)
    first, second = (
        ask_stones(scene, Rng(stream_key(11, "train", 3, "stones")), num_questions=6)
        for _ in range(2)
    )
    assert first == second
