"""Writes data sets in the formats in which they are published, for tests.

Each writer puts its files under `root` and returns what the settings of that format say, so that
`Vqa2Data(root=str(root), **write_vqa2(root, ...))` reads them. Fields that no loader needs are
there too, as in the published files.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

__all__ = [
    "coco_2014_name",
    "coco_2017_name",
    "picture",
    "ten",
    "write_coco_captions",
    "write_gqa",
    "write_json",
    "write_picture",
    "write_snli_ve",
    "write_vqa2",
]

_INFO = {
    "description": "made by a test",
    "url": "",
    "version": "2.0",
    "year": 2017,
    "contributor": "",
    "date_created": "2017-04-26 17:07:13",
}
_LICENSE = {"url": "", "name": "none"}


def coco_2014_name(image_id: int, subtype: str = "train2014") -> str:
    return f"COCO_{subtype}_{image_id:012d}.jpg"


def coco_2017_name(image_id: int) -> str:
    return f"{image_id:012d}.jpg"


def picture(seed: int, size: int = 48) -> np.ndarray:
    """A picture that no other seed has: uint8 (size, size, 3)."""
    draw = np.random.default_rng(seed)
    return np.kron(draw.integers(0, 256, (4, 4, 3)), np.ones((size // 4, size // 4, 1))).astype(
        np.uint8
    )


def write_picture(path: pathlib.Path, image_HW3: np.ndarray) -> None:
    """As JPEG, which all four data sets have."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image_HW3).save(path, "JPEG", quality=95)


def write_json(path: pathlib.Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def ten(*answers: str) -> list[str]:
    """Ten answers: what is given, the last one again until there are ten."""
    return [*answers, *[answers[-1]] * (10 - len(answers))]


def write_vqa2(
    root: pathlib.Path,
    rows: Sequence[tuple[int, str, Sequence[str]]],
    *,
    subtype: str = "train2014",
    kinds: Sequence[str] = (),
    pictures: Mapping[int, np.ndarray] | None = None,
) -> dict[str, str]:
    """VQA v2.0: `(image id, question, ten answers)`; question ids count up per picture.

    Args:
        root: where to.
        rows: in order.
        subtype: train2014, val2014 or test2015.
        kinds: answer types, one a row; `other` where they are not given.
        pictures: image id to picture; None draws one for each.
    """
    asked: dict[int, int] = {}
    questions, annotations = [], []
    for row, (image_id, question, answers) in enumerate(rows):
        number = asked[image_id] = asked.get(image_id, -1) + 1
        question_id = image_id * 1000 + number
        questions.append({"image_id": image_id, "question": question, "question_id": question_id})
        annotations.append(
            {
                "question_type": " ".join(question.lower().split()[:2]),
                "multiple_choice_answer": max(sorted(set(answers)), key=list(answers).count),
                "answers": [
                    {"answer": answer, "answer_confidence": "yes", "answer_id": k + 1}
                    for k, answer in enumerate(answers)
                ],
                "image_id": image_id,
                "answer_type": kinds[row] if kinds else "other",
                "question_id": question_id,
            }
        )
    head = {"info": _INFO, "license": _LICENSE, "data_subtype": subtype}
    names = {
        "questions": f"v2_OpenEnded_mscoco_{subtype}_questions.json",
        "annotations": f"v2_mscoco_{subtype}_annotations.json",
        "images": subtype,
    }
    task = {"task_type": "Open-Ended", "data_type": "mscoco"}
    write_json(root / names["questions"], head | task | {"questions": questions})
    write_json(
        root / names["annotations"], head | {"data_type": "mscoco", "annotations": annotations}
    )
    for image_id in asked:
        image = picture(image_id) if pictures is None else pictures[image_id]
        write_picture(root / subtype / coco_2014_name(image_id, subtype), image)
    return names


def write_gqa(
    root: pathlib.Path,
    rows: Sequence[tuple[str, str, str]],
    *,
    split: str = "train",
    kinds: Sequence[str] = (),
    pictures: Mapping[str, np.ndarray] | None = None,
    chunks: int = 0,
) -> dict[str, str]:
    """GQA: `(image id, question, answer)`; with `chunks`, a folder of so many files."""
    entries: dict[str, Any] = {
        f"{7_000_000 + row:08d}": {
            "semantic": [{"operation": "select", "dependencies": [], "argument": "thing (1)"}],
            "entailed": [],
            "equivalent": [f"{7_000_000 + row:08d}"],
            "question": question,
            "imageId": image_id,
            "isBalanced": True,
            "groups": {"global": None, "local": "10-thing"},
            "answer": answer,
            "semanticStr": "select: thing (1)",
            "annotations": {"answer": {}, "question": {}, "fullAnswer": {}},
            "types": {
                "detailed": "existAttr",
                "semantic": "attr",
                "structural": kinds[row] if kinds else "query",
            },
            "fullAnswer": f"It is {answer}.",
        }
        for row, (image_id, question, answer) in enumerate(rows)
    }
    if chunks:
        name = f"{split}_all_questions"
        ids = list(entries)
        for chunk in range(chunks):
            part = {key: entries[key] for key in ids[chunk::chunks]}
            write_json(root / name / f"{split}_all_questions_{chunk}.json", part)
    else:
        name = f"{split}_balanced_questions.json"
        write_json(root / name, entries)
    for image_id in dict.fromkeys(image_id for image_id, _, _ in rows):
        image = picture(sum(image_id.encode())) if pictures is None else pictures[image_id]
        write_picture(root / "images" / f"{image_id}.jpg", image)
    return {"questions": name, "images": "images"}


def write_snli_ve(
    root: pathlib.Path,
    rows: Sequence[tuple[str, str, str]],
    *,
    split: str = "train",
    pictures: Mapping[str, np.ndarray] | None = None,
) -> dict[str, str]:
    """SNLI-VE: `(Flickr30k id, hypothesis, label)`."""
    lines = [
        json.dumps(
            {
                "Flickr30K_ID": image_id,
                "annotator_labels": [label],
                "captionID": f"{image_id}.jpg#0",
                "gold_label": label,
                "pairID": f"{image_id}.jpg#0r{row}{label[:1]}",
                "sentence1": "A premise that the picture takes the place of.",
                "sentence1_binary_parse": "( A premise )",
                "sentence1_parse": "(ROOT (NP (DT A) (NN premise)))",
                "sentence2": statement,
                "sentence2_binary_parse": "( A statement )",
                "sentence2_parse": "(ROOT (NP (DT A) (NN statement)))",
            }
        )
        for row, (image_id, statement, label) in enumerate(rows)
    ]
    name = f"snli_ve_{split}.jsonl"
    root.mkdir(parents=True, exist_ok=True)
    (root / name).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    for image_id in dict.fromkeys(image_id for image_id, _, _ in rows):
        image = picture(int(image_id)) if pictures is None else pictures[image_id]
        write_picture(root / "flickr30k-images" / f"{image_id}.jpg", image)
    return {"annotations": name, "images": "flickr30k-images"}


def write_coco_captions(
    root: pathlib.Path,
    rows: Sequence[tuple[int, str]],
    *,
    split: str = "train2014",
    pictures: Mapping[int, np.ndarray] | None = None,
) -> dict[str, str]:
    """COCO captions: `(image id, caption)`; files are named as those of 2014 or 2017."""
    ids = list(dict.fromkeys(image_id for image_id, _ in rows))
    old = split.endswith("2014")
    files = {i: coco_2014_name(i, split) if old else coco_2017_name(i) for i in ids}
    images = [
        {
            "license": 5,
            "url": "",
            "file_name": files[image_id],
            "id": image_id,
            "width": 48,
            "height": 48,
            "date_captured": "2013-11-14 16:28:13",
        }
        for image_id in ids
    ]
    annotations = [
        {"image_id": image_id, "id": 100 + row, "caption": caption}
        for row, (image_id, caption) in enumerate(rows)
    ]
    value = {
        "info": _INFO,
        "images": images,
        "licenses": [_LICENSE | {"id": 5}],
        "annotations": annotations,
    }
    write_json(root / f"captions_{split}.json", value)
    for image_id in ids:
        image = picture(image_id) if pictures is None else pictures[image_id]
        write_picture(root / split / files[image_id], image)
    return {"annotations": f"captions_{split}.json", "images": split}
