"""The command line, as a shell sees it: output, exit codes, nothing overwritten unasked."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tokenfuse_sdk.bundle import add_groups
from tokenfuse_sdk.cli.main import main


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """(exit code, standard output, standard error) of a command line, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tokenfuse", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        captured = capsys.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture.png"
    pixels = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_demo(run, tmp_path):
    code, out, err = run("demo")
    assert code == 0
    assert "scene1.png" in out
    assert "of 24 right" in out
    assert "wrote tokenfuse-demo.png" in err
    with Image.open(tmp_path / "tokenfuse-demo.png") as sheet:
        assert min(sheet.size) > 500
    before = (tmp_path / "tokenfuse-demo.png").stat().st_mtime_ns
    code, _, err = run("demo")
    assert code == 0
    assert "was kept" in err
    assert (tmp_path / "tokenfuse-demo.png").stat().st_mtime_ns == before
    code, _, err = run("demo", "-o", "tokenfuse-demo.png")
    assert (code, "--overwrite" in err) == (1, True)
    code, out, _ = run("demo", "-o", "tokenfuse-demo.png", "--overwrite", "--json")
    assert code == 0
    rows = json.loads(out)["answers"]
    assert len(rows) == 24
    assert {"question", "text", "truth", "confidence", "timings"} <= set(rows[0])


def test_answer(run, picture, bundle):
    code, out, _ = run("answer", picture, "is there a star?", "-m", bundle)
    assert code == 0
    assert out.count("\n") == 1
    code, out, _ = run(
        "answer", picture, "is there a star?", "how many?", "--caption", "-m", bundle
    )
    assert [line.split("\t")[0] for line in out.splitlines()] == [
        "is there a star?",
        "how many?",
        "caption:",
    ]
    code, out, err = run("answer", picture, "is there a zebra?", "-m", bundle)
    assert "does not know: zebra" in err


def test_the_task_of_a_text_is_its_sign(run, picture):
    import tokenfuse_sdk

    statement = "there is a red circle."
    asked = ("answer", picture, statement, "is there a star?", "--task", "entail", "--json")
    code, out, _ = run(*asked, "--precision", "fp32", "--device", "cpu")
    assert code == 0
    first, _ = json.loads(out)["answers"]
    with tokenfuse_sdk.load("scenes-nano", device="cpu", precision="fp32") as model:
        said = model.generate(picture, f"entail: {statement}")
        plain = model.answer(picture, statement)
    assert (first["question"], first["text"]) == (statement, said.text)
    assert first["confidence"] == pytest.approx(said.confidence)
    assert first["confidence"] != pytest.approx(plain.confidence, abs=1e-6)


def test_lines_of_an_error_are_set_in(run, tmp_path):
    code, _, err = run("answer", tmp_path / "a\nerror: b\x1b.png", "is there a star?")
    assert code == 1
    first, second = err.splitlines()
    assert first.startswith("error: ") and first.endswith("a")
    assert second.startswith("  error: b\\x1b.png")


def test_a_backend_by_its_name(run, picture, bundle, exported_small):
    pytest.importorskip("onnxruntime", reason="needs the package onnxruntime")
    options = ("--backend", "onnxruntime", "--device", "cpu", "-m", exported_small)
    code, out, _ = run("info", "--json", *options)
    assert (code, json.loads(out)["backend"]) == (0, "onnxruntime")
    asked = ("answer", picture, "is there a star?", "how many?")
    assert run(*asked, *options) == run(*asked, "-m", bundle, "--precision", "fp32")
    code, _, err = run("info", "--backend", "onnxruntime", "-m", bundle)
    assert (code, "tokenfuse export" in err) == (1, True)
    code, _, err = run("info", "--backend", "torch", "-m", bundle)
    assert (code, "choose one of native, onnxruntime" in err) == (1, True)


def test_answer_in_json_with_candidates(run, picture, bundle):
    code, out, _ = run(
        "answer",
        picture,
        "is there a star?",
        "--candidate",
        "yes",
        "--candidate",
        "no",
        "--json",
        "-m",
        bundle,
        "--token-budget",
        4,
        "--num-threads",
        1,
    )
    assert code == 0
    facts = json.loads(out)
    (row,) = facts["answers"]
    assert facts["model"]["precision_reason"].startswith("auto: the bundle records no precisions")
    assert row["token_budget"] == 4
    assert [s["text"] for s in row["scores"]] == ["yes", "no"]
    assert sum(s["probability"] for s in row["scores"]) == pytest.approx(1.0)


def test_times_in_json_are_those_of_the_work(run, picture, bundle):
    common = ("is there a star?", "how many?", "--caption", "--json", "-m", bundle)
    code, out, _ = run("answer", picture, *common, "--save-tokens", "t.safetensors")
    assert code == 0
    first, *others = (row["timings"] for row in json.loads(out)["answers"])
    assert first["preprocess_ms"] > 0
    assert first["encode_image_ms"] > 0
    parts = first["preprocess_ms"] + first["encode_image_ms"] + first["generate_ms"]
    assert parts <= first["total_ms"]
    # The picture is encoded once.
    for times in others:
        assert (times["preprocess_ms"], times["encode_image_ms"]) == (0, 0)
    code, out, _ = run("answer", "t.safetensors", *common)
    for row in json.loads(out)["answers"]:
        assert (row["timings"]["preprocess_ms"], row["timings"]["encode_image_ms"]) == (0, 0)


def test_tokens_are_kept_and_asked(run, picture, bundle):
    common = ("-m", bundle)
    code, out, err = run("answer", picture, "--save-tokens", "t.safetensors", *common)
    assert (code, out, err) == (0, "", "wrote t.safetensors\n")
    _, direct, _ = run("answer", picture, "is there a star?", *common)
    code, out, _ = run("answer", "t.safetensors", "is there a star?", *common)
    assert (code, out) == (0, direct)
    code, _, err = run("answer", picture, "--save-tokens", "t.safetensors", *common)
    assert (code, "--overwrite" in err) == (1, True)
    own = ("--save-tokens", "t.safetensors", "--overwrite")
    code, _, err = run("answer", "t.safetensors", *own, *common)
    assert (code, "is IMAGE itself" in err) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (("answer", "none.png", "is there a star?"), 1, "none.png"),
        (("answer", "{picture}", ""), 1, "empty"),
        (("answer", "{picture}"), 2, "a question is needed; ask one, or pass --caption"),
        (("answer", "{picture}"), 2, "--save-tokens FILE to encode it only"),
        (("answer", "", "is there a star?"), 2, "the path is empty"),
        (("answer", "{picture}", "--save-tokens", ""), 2, "the path is empty"),
        (("answer", "{picture}", "--save-tokens", "."), 1, "ends in .safetensors"),
        (("answer", "none.safetensors", "is there a star?"), 1, "there is no file none.safe"),
        (("answer", "{picture}", "is there?", "-m", ""), 1, "model='': need the name"),
        (("demo", "-o", ""), 2, "the path is empty"),
        (("info", "-m", ""), 1, "model='': need the name"),
        (("precisions", ""), 1, "model='': need the name"),
        (("evaluate", "-m", ""), 1, "model='': need the name"),
        (("flops", "--config", ""), 2, "does not exist"),
        (("train", "scenes-nano", "-o", ""), 2, "the path is empty"),
        (("train", "scenes-nano", "-o", "new", "--work", ""), 2, "the path is empty"),
        (("train", "scenes-nano", "-o", "new", "--init-text", ""), 2, "the path is empty"),
        (("answer", "{picture}", "--caption", "--candidate", "yes"), 2, "needs a question"),
        (("answer", "{picture}", "a", "--task", "match", "--candidate", "yes"), 2, "or --task"),
        (("answer", "{picture}", "is there?", "-m", "none"), 1, "no bundle"),
        (("answer", "{picture}", "is there?", "--device", "cuda"), 1, "CUDA"),
        (("answer", "{picture}", "is there?", "--token-budget", "5"), 1, "not one of"),
        (("answer", "{picture}", "is there?", "--num-threads", "0"), 2, "num-threads"),
        (("frobnicate",), 2, "frobnicate"),
        (("answer", "--nonsense"), 2, "--nonsense"),
    ],
)
def test_mistakes_end_with_one_line_and_a_stable_code(run, picture, arguments, code, word):
    arguments = [str(a).replace("{picture}", str(picture)) for a in arguments]
    got, out, err = run(*arguments)
    assert got == code
    assert out == ""
    assert word in err
    assert "Traceback" not in err


def test_info(run, bundle):
    code, out, _ = run("info", "-m", bundle)
    assert code == 0
    assert "random-small" in out
    code, out, _ = run("info", "-m", bundle, "--json", "--card")
    facts = json.loads(out)
    assert facts["token_budgets"] == [2, 4, 8]
    assert facts["memory"]["weights_bytes"] > 0
    assert (facts["precision"], facts["device"]) == ("fp32", "cpu")
    code, out, _ = run("info", "-m", bundle, "--precision", "int8")
    assert code == 0
    assert "asked for; may answer unlike fp32: the bundle records no precisions" in out
    assert "# random-small" in facts["card"]


def test_info_of_what_was_built(run, bundle, make_group):
    _, out, _ = run("info", "-m", bundle)
    told = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert (told["onnx_precisions"], told["engines"]) == ("none", "none")
    names = ("onnx/fp32", "onnx/int8", "engines/sm_86-fp16")
    groups = {name: make_group(name, bundle) for name in names}
    add_groups(bundle, bundle, groups, overwrite=True)
    _, out, _ = run("info", "-m", bundle)
    told = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert (told["onnx_precisions"], told["engines"]) == ("fp32, int8", "sm_86-fp16")
    _, out, _ = run("info", "-m", bundle, "--json")
    facts = json.loads(out)
    assert facts["onnx_precisions"] == ["fp32", "int8"]
    assert facts["engines"] == ["sm_86-fp16"]


def test_doctor(run):
    code, out, _ = run("doctor", "--json")
    assert code == 0
    checks = json.loads(out)
    assert checks["CPU engine"]["ok"]
    assert checks["model scenes-nano"]["ok"]
    code, out, _ = run("doctor")
    assert "golden outputs within" in out
    assert "answers like fp32 in" in out or "fp32 is the fastest" in out


def test_doctor_reports_what_is_broken(run, monkeypatch):
    monkeypatch.setenv("TOKENFUSE_FORCE_ISA", "sse9")
    code, out, _ = run("doctor")
    assert code == 1
    assert "TOKENFUSE_FORCE_ISA=sse9 is not known" in out


def test_help_and_version_load_nothing_heavy():
    script = (
        "import sys; sys.argv = ['tokenfuse', '--help']\n"
        "from tokenfuse_sdk.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as stopped: assert not stopped.code\n"
        "heavy = {'torch', 'tokenizers', 'PIL', 'tokenfuse_sdk._native'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    for verb in ("demo", "answer", "info", "doctor", "flops"):
        assert verb in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("flops", "--compare", "--json"),
        ("flops", "--compare"),
        ("--help",),
        ("doctor",),
        ("info", "--json"),
    ],
    ids=" ".join,
)
def test_a_reader_that_goes_away_is_no_failure(arguments, tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tokenfuse_sdk", *arguments],
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            cwd=tmp_path,
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_output_that_train_may_not_replace_is_refused_before_the_training(run, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "me.png").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    few = ("--max-minutes", 0.01, "--set", "data.train.num_scenes=1")
    for output in ("photos", "link"):
        code, out, err = run("train", "scenes-nano", "-o", output, "--overwrite", *few)
        assert (code, out) == (1, "")
        assert f"{output} is not a bundle, so it is not overwritten" in err
    code, _, err = run("train", "scenes-nano", "-o", "photos", *few)
    assert (code, "--overwrite" in err) == (1, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "photos"]


def test_save_tokens_spares_the_picture(run, picture, bundle):
    before = pathlib.Path(picture).read_bytes()
    own = ("--save-tokens", picture, "--overwrite")
    code, _, err = run("answer", picture, "-m", bundle, *own)
    assert (code, "ends in .safetensors" in err) == (1, True)
    assert pathlib.Path(picture).read_bytes() == before


@pytest.mark.parametrize("target", ["none/t.safetensors", "file/t.safetensors", "t.safetensors"])
def test_tokens_that_cannot_be_kept_are_told_before_the_work(
    run, picture, bundle, target, tmp_path, monkeypatch
):
    monkeypatch.setattr("tokenfuse_sdk.load", lambda *args, **options: pytest.fail("it worked"))
    (tmp_path / "file").touch()
    (tmp_path / "t.safetensors").mkdir()
    before = sorted(tmp_path.rglob("*"))
    own = ("--save-tokens", target, "--overwrite")
    code, out, err = run("answer", picture, "-m", bundle, *own)
    assert (code, out) == (1, "")
    assert ("is a folder" if target == "t.safetensors" else "there is no folder") in err
    assert "pass another --save-tokens" in err
    assert "Errno" not in err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("missing", ["torch", "yaml"])
def test_a_verb_of_an_extra_names_it(run, monkeypatch, missing):
    for name in [name for name in sys.modules if name.startswith("tokenfuse_training")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    code, _, err = run("train", "scenes-nano", "-o", "out")
    assert code == 1
    said = f"this verb needs {missing}; in the source folder, run `pip install '.[train]'`"
    assert err == f"error: {said}\n"
