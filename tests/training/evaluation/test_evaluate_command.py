"""`tokenfuse evaluate` on any loader: the scores are those of the answers, counted by hand here."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from published_files import ten, write_gqa, write_snli_ve, write_vqa2

import tokenfuse_sdk as tf
from tokenfuse_sdk.errors import ConfigError, OutputExistsError
from tokenfuse_training.cli.evaluate import evaluate
from tokenfuse_training.cli.precisions import precisions
from tokenfuse_training.data.scenes import render, sample_scene, scene_questions
from tokenfuse_training.errors import DataError, TooManyBadRecordsError

CONFIG = """
name: asked
tokenizer: scenes
data:
  vqa: {{format: vqa2, root: {root}, questions: {questions}, annotations: {annotations}, images: {images}}}
  gqa: {{format: gqa, root: {root}, questions: val_balanced_questions.json, images: images}}
  ve: {{format: snli_ve, root: {root}, annotations: snli_ve_test.jsonl, images: flickr30k-images}}
  drawn: {{format: scenes, split: test, num_scenes: 4, num_questions: 6}}
stages:
  - {{name: one, steps: 1, batch_size: 1, tasks: {{vqa: {{task: vqa, data: vqa}}}}}}
evaluate:
  vqa: {{task: vqa, data: vqa}}
  gqa: {{task: gqa, data: gqa}}
  ve: {{task: entail, data: ve}}
  drawn: {{task: scenes, data: drawn}}
  long: {{task: describe, data: drawn}}
"""  # noqa: E501


def run(command, *arguments: object):
    done = CliRunner().invoke(command, [*map(str, arguments)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    return [render(sample_scene("test", i, seed=3), 64) for i in range(20)]


@pytest.fixture(scope="module")
def questions() -> list[list[str]]:
    return [
        [
            q.text
            for q in scene_questions(
                sample_scene("test", i, seed=3), "test", i, seed=3, num_questions=12
            )
        ]
        for i in range(20)
    ]


@pytest.fixture(scope="module")
def root(tmp_path_factory, pictures, questions):
    """Files in the published formats, whose annotators say "yes" to everything, but for some."""
    root = tmp_path_factory.mktemp("asked")
    rows = [(i + 1, text, said(i)) for i, texts in enumerate(questions) for text in texts]
    kinds = ["yes/no" if row[1].startswith("is ") else "other" for row in rows]
    by_id = {i + 1: image for i, image in enumerate(pictures)}
    names = write_vqa2(root, rows, subtype="val2014", kinds=kinds, pictures=by_id)
    write_gqa(
        root,
        [(f"n{i}", texts[0], "yes") for i, texts in enumerate(questions)],
        split="val",
        pictures={f"n{i}": image for i, image in enumerate(pictures)},
    )
    labels = ("entailment", "neutral", "contradiction")
    write_snli_ve(
        root,
        [(str(i), "there is a red circle.", labels[i % 3]) for i in range(9)],
        split="test",
        pictures={str(i): pictures[i] for i in range(9)},
    )
    (root / "asked.yaml").write_text(CONFIG.format(root=root, **names))
    return root


def said(picture: int) -> list[str]:
    # Two of ten say so of odd pictures: 2/3 for most subsets.
    return ten("yes", "yes", "unsure") if picture % 2 else ten("Yes.")


def as_json(root, dataset: str, *arguments: object) -> dict:
    done = run(
        evaluate, "--config", root / "asked.yaml", "--dataset", dataset, "--json", "--precision",
        "fp32", *arguments,
    )  # fmt: skip
    return json.loads(done.stdout)


def test_the_official_accuracy_by_type_through_the_model(root, pictures, questions, tmp_path):
    file = tmp_path / "results.json"
    told = as_json(root, "vqa", "--predictions", file)
    assert (told["data"], told["split"], told["task"]) == ("vqa2", "vqa", "vqa")
    assert (told["backend"], told["device"], told["precision"]) == ("native", "cpu", "fp32")
    assert told["num_bad_pictures"] == told["num_refused"] == 0
    # Counted anew: a stored picture is a JPEG, so it is read from there.
    with tf.load("scenes-nano", device="cpu", precision="fp32") as model:
        budgets = list(model.info.token_budgets)
        scores: dict[int, dict[str, list[float]]] = {b: {} for b in budgets}
        answers = []
        for i, texts in enumerate(questions):
            image = model.encode_image(root / "val2014" / f"COCO_val2014_{i + 1:012d}.jpg")
            for number, text in enumerate(texts):
                kind = "yes/no" if text.startswith("is ") else "other"
                for budget in budgets:
                    answer = model.answer(image, text, token_budget=budget).text
                    # All ten agree, or two of ten: 8 subsets have 2, 2 have 1.
                    right = 1.0 if i % 2 == 0 else (8 * 2 / 3 + 2 * 1 / 3) / 10
                    score = right if answer == "yes" else 0.0
                    scores[budget].setdefault(kind, []).append(score)
                answers.append({"question_id": 1000 * (i + 1) + number, "answer": answer})
    assert [row["token_budget"] for row in told["accuracy"]] == budgets
    for row in told["accuracy"]:
        own = scores[row["token_budget"]]
        every = [score for kind in own.values() for score in kind]
        assert row["overall"] == pytest.approx(np.mean(every), abs=1e-12)
        assert row["by_family"] == pytest.approx({k: np.mean(v) for k, v in own.items()})
        assert row["counts"] == {kind: len(own[kind]) for kind in sorted(own)}
        assert 0 <= row["low"] < row["overall"] < row["high"] <= 1
    assert 0.1 < told["accuracy"][-1]["overall"] < 0.9
    # The results file of the evaluation server.
    assert json.loads(file.read_text()) == answers
    with pytest.raises(OutputExistsError, match="--overwrite"):
        as_json(root, "vqa", "--predictions", file)


def test_questions_of_gqa_and_statements_of_snli_ve(root, tmp_path):
    file = tmp_path / "results.json"
    told = as_json(root, "gqa", "--predictions", file, "--token-budget", 16)
    rows = json.loads(file.read_text())
    assert set(rows[0]) == {"questionId", "prediction"}
    (accuracy,) = told["accuracy"]
    assert accuracy["token_budget"] == 16
    assert accuracy["overall"] == sum(row["prediction"] == "yes" for row in rows) / len(rows)
    told = as_json(root, "ve", "--predictions", file, "--overwrite")
    rows = {row["question_id"]: row["answer"] for row in json.loads(file.read_text())}
    assert len(rows) == 9
    right = 0
    with tf.load("scenes-nano", device="cpu", precision="fp32") as model:
        for i in range(9):
            image = root / "flickr30k-images" / f"{i}.jpg"
            answer = model.generate(image, "entail: there is a red circle.").text
            right += answer == ("yes", "maybe", "no")[i % 3]
            assert answer in rows.values()
    assert told["accuracy"][-1]["overall"] == pytest.approx(right / 9)


def test_scenes_of_a_config_leave_nothing_behind(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = as_json(root, "drawn")
    assert told["split"] == "test"
    # The model knows them.
    assert told["accuracy"][-1]["overall"] > 0.9
    assert as_json(root, "long")["accuracy"][-1]["counts"].keys() <= {
        "caption", "complete", "match", "entail",
    }  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_a_table_with_intervals(root):
    done = run(evaluate, "--config", root / "asked.yaml", "--dataset", "gqa")
    for word in ("overall", "95% interval", " to ", "query"):
        assert word in done.stdout, word


def test_a_record_of_precisions_on_any_data(root, bundle_of_scenes):
    done = run(
        precisions, bundle_of_scenes, "--config", root / "asked.yaml", "--dataset", "vqa", "--json",
        "--overwrite", "--num-questions", 200,
    )  # fmt: skip
    told = json.loads(done.stdout)
    assert told["asked"] == {"data": "vqa2", "split": "vqa", "seed": 0, "num_questions": 200}
    record = tf.bundle.read_bundle(bundle_of_scenes).precisions
    assert record.data == "vqa2"
    assert record.passes("bf16")
    # Of fewer questions than a record needs, nothing is measured.
    with pytest.raises(tf.errors.BundleFormatError, match="there are 20 questions, too few"):
        run(precisions, bundle_of_scenes, "--config", root / "asked.yaml", "--dataset", "gqa",
            "--overwrite")  # fmt: skip


@pytest.fixture
def bundle_of_scenes(tmp_path):
    import shutil

    from tokenfuse_sdk.shipped import find_bundle

    return shutil.copytree(find_bundle("scenes-nano"), tmp_path / "scenes-nano")


def test_what_is_wrong_with_the_data_is_told(root, tmp_path):
    with pytest.raises(DataError, match="nowhere"):
        as_json(root, "gqa", "--set", "data.gqa.images=nowhere")
    # A folder without these pictures.
    gone = ("--set", "data.gqa.images=val2014")
    with pytest.raises(TooManyBadRecordsError, match="8 of 8 records"):
        as_json(root, "gqa", *gone)
    told = as_json(root, "gqa", *gone, "--set", "data.gqa.max_bad_share=1.0")
    assert (told["num_bad_pictures"], told["accuracy"]) == (20, [])
    with pytest.raises(ConfigError, match="did you mean 'drawn'"):
        as_json(root, "drwn")
    with pytest.raises(ConfigError, match="pass --dataset vqa or gqa or ve"):
        run(evaluate, "--config", root / "asked.yaml")
    with pytest.raises(ConfigError, match="asked evaluates nothing"):
        run(evaluate, "--config", root / "asked.yaml", "--set", "evaluate=null")


@pytest.mark.parametrize(
    "arguments", [["--dataset", "x"], ["--set", "a=1"], ["--config", "x", "--seed", "1"]]
)
def test_options_that_do_not_go_together(arguments):
    done = run(evaluate, *arguments)
    assert done.exit_code == 2


def test_questions_without_answers_are_asked_all_the_same(tmp_path, pictures):
    names = write_vqa2(
        tmp_path, [(1, "is there a star?", ten("yes"))], subtype="test2015",
        pictures={1: pictures[0]},
    )  # fmt: skip
    (tmp_path / names["annotations"]).unlink()
    (tmp_path / "c.yaml").write_text(
        f"""
name: c
data: {{vqa: {{format: vqa2, root: {tmp_path}, questions: {names["questions"]}, images: test2015}}}}
stages: [{{name: a, steps: 1, batch_size: 1, tasks: {{vqa: {{task: vqa, data: vqa}}}}}}]
evaluate: {{vqa: {{task: vqa, data: vqa}}}}
"""
    )
    file = tmp_path / "out.json"
    with pytest.raises(ConfigError, match=r"vqa has no annotations.*--predictions FILE"):
        run(evaluate, "--config", tmp_path / "c.yaml")
    done = run(evaluate, "--config", tmp_path / "c.yaml", "--predictions", file, "--json")
    assert json.loads(done.stdout)["accuracy"] == []
    assert [row["question_id"] for row in json.loads(file.read_text())] == [1000]
