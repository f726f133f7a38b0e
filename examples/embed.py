"""Embed a model in an application: load it once, ask from any thread, show errors to people.

python examples/embed.py [PICTURE QUESTION]
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import tokenfuse_sdk as tf


class PictureHelper:
    """What an application would hold: one model, closed at the end."""

    def __init__(self) -> None:
        self._model = tf.load("scenes-nano")

    def close(self) -> None:
        self._model.close()

    def reply(self, picture: object, question: str) -> str:
        """A sentence for the user, whatever was given."""
        try:
            answer = self._model.answer(picture, question)
        except tf.TokenfuseError as error:
            return f"Sorry: {error}"
        if answer.unknown_words:
            return f"I do not know the word {answer.unknown_words[0]!r}."
        if answer.confidence < 0.6:
            return f"Perhaps {answer.text}, but I am not sure."
        return f"{answer.text} ({100 * answer.confidence:.0f}% sure)"


def main() -> None:
    if len(sys.argv) == 3:
        requests = [(sys.argv[1], sys.argv[2])]
    else:
        picture = tf.example_images()[0]
        requests = [
            (picture, "how many things are there?"),
            (picture, "is there a zebra?"),
            (b"no picture at all", "is there a star?"),
        ]
    helper = PictureHelper()
    # The model is thread-safe: calls take turns.
    with ThreadPoolExecutor(4) as pool:
        for reply in pool.map(lambda request: helper.reply(*request), requests):
            print(reply)
    helper.close()


if __name__ == "__main__":
    main()
