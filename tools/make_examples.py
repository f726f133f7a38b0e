"""Make the example pictures of the package, with questions and their true answers.

    python tools/make_examples.py

Scenes of the test split, whose digits no training saw: the first with four objects or more.
The questions are the first of each family in the scene's own order, none chosen by hand.
"""

from __future__ import annotations

import json
import pathlib

from PIL import Image

from tokenfuse_training.data.scenes.questions import ask_questions
from tokenfuse_training.data.scenes.render import render
from tokenfuse_training.data.scenes.rng import Rng, stream_key
from tokenfuse_training.data.scenes.sampling import sample_scene

_FOLDER = pathlib.Path(__file__).parents[1] / "tokenfuse_sdk" / "assets" / "examples"
_SEED, _NUM_PICTURES, _NUM_QUESTIONS, _PIXELS = 7, 6, 4, 128


def main() -> None:
    _FOLDER.mkdir(parents=True, exist_ok=True)
    questions: dict[str, list[dict[str, str]]] = {}
    index = 0
    while len(questions) < _NUM_PICTURES:
        scene = sample_scene("test", index, seed=_SEED)
        rng = Rng(stream_key(_SEED, "test", index, "questions"))
        index += 1
        if len(scene.objects) < 4:
            continue
        by_family = {}
        # Another family first in each picture, so that all of them appear.
        asked = ask_questions(scene, rng, num_questions=16)
        turn = len(questions) * 3 % len(asked)
        for question in asked[turn:] + asked[:turn]:
            by_family.setdefault(question.family, question)
        name = f"scene{len(questions) + 1}.png"
        questions[name] = [
            {"question": q.text, "answer": q.answer, "family": q.family}
            for q in list(by_family.values())[:_NUM_QUESTIONS]
        ]
        Image.fromarray(render(scene, _PIXELS)).save(_FOLDER / name, optimize=True)
    text = json.dumps(questions, indent=2) + "\n"
    (_FOLDER / "questions.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
