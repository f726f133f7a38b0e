"""A program that knows nothing of tokenfuse runs our graphs, and answers like the SDK."""

from __future__ import annotations

import io
import pathlib
import subprocess
import sys

import foreign_runtime as foreign
import numpy as np
import pytest
from PIL import Image

import tokenfuse_sdk as tf
from tokenfuse_sdk.preprocess import PreprocessConfig, decode_image, preprocess
from tokenfuse_sdk.shipped import example_questions

EXAMPLE = pathlib.Path(__file__).resolve().parents[2] / "examples" / "foreign_runtime.py"
# Float32 graphs of another runtime: what its order of sums may do to a probability.
CONFIDENCE_BOUND = 1e-4


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_it_answers_like_the_sdk(exported_nano, runtime):
    pytest.importorskip(runtime, reason=f"needs the package {runtime}")
    facts = foreign.read_facts(exported_nano)
    run = foreign.RUNTIMES[runtime](exported_nano / "onnx" / "fp32")
    asked = example_questions()
    with tf.load("scenes-nano", device="cpu", precision="fp32") as model:
        for path in tf.example_images():
            f_BND = foreign.encode(facts, run, path.read_bytes())
            tokens = model.encode_image(path)
            np.testing.assert_allclose(f_BND[0], tokens.f_ND, atol=1e-3)
            questions = [entry["question"] for entry in asked[path.name]]
            budgets = model.config.fusion.token_budgets
            for i, question in enumerate(questions):
                budget = budgets[i % len(budgets)]
                text, share = foreign.answer(facts, run, f_BND[:, :budget], question)
                want = model.answer(tokens, question, token_budget=budget)
                assert text == want.text
                assert share == pytest.approx(want.confidence, abs=CONFIDENCE_BOUND)


def test_it_runs_without_tokenfuse(exported_nano):
    picture = tf.example_images()[0]
    # None in sys.modules: whoever imports it has an ImportError.
    code = (
        "import runpy, sys\n"
        "for name in ('tokenfuse_sdk', 'tokenfuse_export', 'tokenfuse_training', 'torch'):\n"
        "    sys.modules[name] = None\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    command = [sys.executable, "-c", code, EXAMPLE, exported_nano, picture, "is there a red thing?"]
    done = subprocess.run(
        [*map(str, command), "what color is the 8?"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith("is there a red thing?  yes (")
    assert second.startswith("what color is the 8?  red (")


def picture_of(mode: str, size: tuple[int, int], **options: object) -> bytes:
    """A picture's file in a mode of Pillow, with noise in each channel."""
    rng = np.random.default_rng(8)
    noise = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 4), dtype=np.uint8), "RGBA")
    file = io.BytesIO()
    kind = "TIFF" if mode == "CMYK" else "PNG"
    (noise if mode == "RGBA" else noise.convert("RGB").convert(mode)).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("mode", "size"),
    [
        ("RGB", (64, 64)),
        ("RGB", (65, 130)),
        ("RGB", (131, 64)),
        ("L", (1, 50)),
        ("P", (70, 90)),
        ("RGBA", (90, 31)),
        ("CMYK", (33, 34)),
        ("1", (40, 20)),
    ],
)
@pytest.mark.parametrize("fit", ["pad", "stretch"])
def test_it_prepares_pictures_like_the_sdk(mode, size, fit):
    config = PreprocessConfig(
        image_size=64, fit=fit, image_mean=(0.5, 0.4, 0.3), image_std=(0.2, 0.3, 0.4)
    )
    options = {"transparency": 3} if mode == "P" else {}
    picture = picture_of(mode, size, **options)
    got = foreign.prepare(picture, config.to_dict())
    assert got.dtype == np.float32
    want = preprocess(decode_image(picture), config)[None]
    # One rounding more or less of a scale, at values of up to 4.
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-6)


def test_it_turns_pictures_like_the_sdk():
    config = PreprocessConfig(image_size=64)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = picture_of("RGB", (64, 40), exif=exif)
    want = preprocess(decode_image(picture), config)[None]
    np.testing.assert_allclose(foreign.prepare(picture, config.to_dict()), want, atol=1e-6)


def test_its_questions_are_padded_to_the_lengths_of_the_graphs(exported_nano):
    facts = foreign.read_facts(exported_nano)
    assert [foreign.text_ids(facts, "star " * n).shape for n in (1, 15, 16, 63)] == [
        (1, 16),
        (1, 16),
        (1, 32),
        (1, 64),
    ]
    ids = foreign.text_ids(facts, "is </s> a star?")[0]
    assert list(ids).count(1) == 1
    with pytest.raises(ValueError, match="has 65 tokens with its end; at most 64"):
        foreign.text_ids(facts, "star " * 64)


@pytest.mark.parametrize("lacks", ["picture", "graphs"])
def test_what_lacks_is_told_in_one_line(exported_nano, tmp_path, monkeypatch, lacks):
    picture = tmp_path / "none.png" if lacks == "picture" else tf.example_images()[0]
    more = ["--precision", "fp64"] if lacks == "graphs" else []
    words = ["foreign", exported_nano, picture, "is there a star?", *more]
    monkeypatch.setattr(sys, "argv", [*map(str, words)])
    with pytest.raises(SystemExit, match=r"^error: [^\n]+\Z") as caught:
        foreign.main()
    assert ("none.png" if lacks == "picture" else "fp64") in caught.value.code
