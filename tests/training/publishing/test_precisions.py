"""`tokenfuse precisions`: the counts are those of the answers, and the bundle gets them whole."""

from __future__ import annotations

import contextlib
import hashlib
import json
import pathlib
import shutil
import types

import numpy as np
import pytest
from click.testing import CliRunner, Result

from tokenfuse_sdk.bundle import read_bundle
from tokenfuse_sdk.errors import (
    BundleError,
    BundleFormatError,
    BundleMissingFileError,
    OutputExistsError,
)
from tokenfuse_sdk.shipped import find_bundle
from tokenfuse_training.cli.precisions import precisions
from tokenfuse_training.evaluation.asked_set import scenes_set
from tokenfuse_training.publishing import precisions as training_precisions
from tokenfuse_training.publishing.precisions import measure_precisions


def run(*arguments: object) -> Result:
    done = CliRunner().invoke(precisions, [*map(str, arguments)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


@pytest.fixture
def shipped(tmp_path) -> pathlib.Path:
    """A copy of the shipped bundle."""
    return pathlib.Path(shutil.copytree(find_bundle("scenes-nano"), tmp_path / "scenes-nano"))


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_record_of_a_bundle_is_measured_and_kept(shipped):
    before = contents(shipped)
    done = run(shipped, "--num-questions", 200, "--seed", 5, "--overwrite", "--json")
    assert done.exit_code == 0
    told = json.loads(done.stdout)
    assert "200/200" in done.stderr
    assert "wrote the record" in done.stderr
    record = read_bundle(shipped).precisions
    assert told == record.to_dict() | {"passed": [n for n in record.counts if record.passes(n)]}
    assert (record.seed, record.split, record.num_questions) == (5, "test", 200)
    after = contents(shipped)
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"manifest.json", "precisions.json"}
    assert list(shipped.parent.iterdir()) == [shipped]


def test_the_table_has_every_precision_and_budget(shipped):
    done = run(shipped, "--num-questions", 200, "--overwrite")
    assert done.exit_code == 0
    for word in ("fp32", "bf16", "int8", "100.00", "as fp32", "yes"):
        assert word in done.stdout, word


def test_a_record_is_kept_unless_asked_and_before_the_work(shipped, monkeypatch):
    monkeypatch.setattr(training_precisions, "_open", lambda *args: pytest.fail("it worked"))
    before = contents(shipped)
    with pytest.raises(OutputExistsError, match="--overwrite"):
        run(shipped)
    assert contents(shipped) == before
    with pytest.raises(BundleMissingFileError):
        run(shipped / "none")


def asked(split: str, num_questions: int, seed: int):
    return scenes_set(split=split, num_questions=num_questions, seed=seed)


@pytest.mark.parametrize(
    ("num_questions", "seed"), [(150, 5), (199, 5), (10_000_001, 5), (200, 1 << 63), (200, -1)]
)
def test_what_a_record_cannot_say_is_refused_before_the_work(
    shipped, monkeypatch, num_questions, seed
):
    monkeypatch.setattr(training_precisions, "_open", lambda *args: pytest.fail("it worked"))
    with pytest.raises(BundleFormatError, match=r"are 1\d\d questions, too|is (1|9|-)\d+;"):
        measure_precisions(shipped, asked("test", num_questions, seed))
    done = run(shipped, "--num-questions", num_questions, "--seed", seed, "--overwrite")
    assert done.exit_code == 2
    assert "range" in done.stderr


@pytest.mark.parametrize("damage", ["other weights", "cut short", "gone"])
def test_a_record_that_cannot_be_read_is_replaced(shipped, damage):
    name = "precisions.json"
    if damage == "gone":
        (shipped / name).unlink()
    elif damage == "cut short":
        (shipped / name).write_text("{")
    else:
        bundle = read_bundle(shipped)
        text = (shipped / name).read_text().replace(bundle.digest, "0" * 64)
        (shipped / name).write_text(text)
        manifest = json.loads((shipped / "manifest.json").read_text())
        manifest["files"][name]["sha256"] = hashlib.sha256(text.encode()).hexdigest()
        (shipped / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="measure again with `tokenfuse precisions BUNDLE --over"):
        read_bundle(shipped)
    with pytest.raises(OutputExistsError, match="--overwrite"):
        run(shipped)
    assert run(shipped, "--num-questions", 200, "--seed", 5, "--overwrite").exit_code == 0
    assert read_bundle(shipped).precisions.seed == 5


def test_the_folder_that_one_stands_in(shipped, monkeypatch):
    monkeypatch.chdir(shipped)
    assert run(".", "--num-questions", 200, "--seed", 5, "--overwrite").exit_code == 0
    monkeypatch.chdir(shipped.parent)
    assert read_bundle(shipped).precisions.seed == 5


class Scripted:
    """A model that answers right, but for every so many questions at the budget of 16."""

    def __init__(self, every: int, answers: dict[tuple[bytes, str], str]) -> None:
        self.config = types.SimpleNamespace(vision=types.SimpleNamespace(image_size=64))
        self.info = types.SimpleNamespace(
            token_budgets=(4, 16), weights_sha256="a" * 64, isa="scalar"
        )
        self.every, self.right, self.count = every, answers, {4: 0, 16: 0}

    def encode_image(self, image, *, token_budget):
        assert image.dtype == np.uint8
        assert token_budget == 16
        return image.tobytes()

    def answer_many(self, tokens, questions, *, token_budget):
        return [
            types.SimpleNamespace(text=self.one(own, question, token_budget))
            for own, question in zip(tokens, questions, strict=True)
        ]

    def one(self, image, question, token_budget):
        self.count[token_budget] += 1
        wrong = token_budget == 16 and self.every and self.count[16] % self.every == 0
        return "?" if wrong else self.right[image, question]


def test_counts_are_those_of_the_answers(monkeypatch):
    scenes = asked("val", 200, 9)
    vision = types.SimpleNamespace(image_size=64)
    pictures = list(scenes.pictures(vision))
    assert sum(len(picture.questions) for picture in pictures) == 200
    answers = {
        (picture.image_u8.tobytes(), q.text): q.answers[0].text
        for picture in pictures
        for q in picture.questions
    }
    every = {"fp32": 10, "bf16": 10, "int8": 7}

    def scripted(path, names, num_threads):
        assert (path, num_threads) == ("here", 3)
        return [contextlib.nullcontext(Scripted(every[name], answers)) for name in names]

    monkeypatch.setattr(training_precisions, "_open", scripted)
    done: list[int] = []
    record = measure_precisions("here", scenes, num_threads=3, report=done.append)
    assert done[-1] == 200
    assert done == sorted(done)
    got = {n: [(c.token_budget, c.same, c.right) for c in cs] for n, cs in record.counts.items()}
    # Of 200, 20 are tens and 28 sevens; fp32 and int8 are both wrong at 70 and 140.
    assert got == {
        "fp32": [(4, 200, 200), (16, 200, 180)],
        "bf16": [(4, 200, 200), (16, 200, 180)],
        "int8": [(4, 200, 200), (16, 200 - 20 - 28 + 4, 172)],
    }
    assert record.passes("bf16")
    assert not record.passes("int8")
