"""Ask the same questions of every picture in a folder; one CSV row per picture.

    python examples/folder_to_csv.py FOLDER OUTPUT.csv QUESTION [QUESTION ...]

A picture that cannot be read is told on standard error and has an empty row: one bad file
does not stop the others.
"""

from __future__ import annotations

import csv
import pathlib
import sys

import tokenfuse_sdk as tf

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


def main() -> None:
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    folder, output, questions = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3:]
    pictures = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    # "x" makes a new file and never replaces one.
    with tf.load("scenes-nano") as model, output.open("x", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["picture", *questions])
        for picture in pictures:
            try:
                answers = [a.text for a in model.answer_many(picture, questions)]
            except tf.TokenfuseError as error:
                print(f"{picture}: {error}", file=sys.stderr)
                answers = [""] * len(questions)
            writer.writerow([picture.name, *answers])
    print(f"wrote {len(pictures)} rows to {output}", file=sys.stderr)


if __name__ == "__main__":
    main()
