"""`load(backend="onnxruntime")`: the native engine's API and answers; what is refused, and how."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import pathlib
import pickle
import shutil
import sys

import numpy as np
import pytest

import tokenfuse_sdk as tf
from tokenfuse_sdk import errors
from tokenfuse_sdk.bundle import add_groups, read_bundle
from tokenfuse_sdk.graphs import GRAPHS
from tokenfuse_sdk.runtime import onnxruntime as backend
from tokenfuse_sdk.runtime.onnxruntime import OnnxRuntimeExecutor
from tokenfuse_sdk.shipped import example_questions

pytest.importorskip("onnxruntime", reason="needs the package onnxruntime")

CPU, AZURE = "CPUExecutionProvider", "AzureExecutionProvider"
QUESTIONS = ("is there a star?", "what is red?", "how many circles are there left of the 7?", "3?")
LONG = "is there a red star left of the blue circle that is above the 7 " * 3
# Of confidences and log-probabilities: float32 sums in another order.
BOUND = 1e-4


def load(path, **options):
    return tf.load(path, backend="onnxruntime", **{"device": "cpu", "num_threads": 2, **options})


@pytest.fixture(scope="module")
def model(exported_nano):
    with load(exported_nano) as model:
        yield model


@pytest.fixture(scope="module")
def native(exported_nano):
    with tf.load(exported_nano, device="cpu", precision="fp32") as model:
        yield model


@pytest.fixture
def exported(exported_small, tmp_path):
    """A bundle with graphs of one's own, to be damaged at will."""
    return pathlib.Path(shutil.copytree(exported_small, tmp_path / "exported"))


def assert_same(got, want):
    assert [answer.text for answer in got] == [answer.text for answer in want]
    for one, other in zip(got, want, strict=True):
        assert one.confidence == pytest.approx(other.confidence, abs=BOUND)
        assert (one.num_tokens, one.complete) == (other.num_tokens, other.complete)
        assert (one.question, one.token_budget) == (other.question, other.token_budget)


def test_the_demo_has_the_same_answers(model, native):
    asked = example_questions()
    total = 0
    for image in tf.example_images():
        questions = [one["question"] for one in asked[image.name]]
        want = [native.answer(image, question) for question in questions]
        assert_same([model.answer(image, question) for question in questions], want)
        assert_same(model.answer_many(image, questions), want)
        total += len(questions)
    assert total == 24


@pytest.mark.parametrize("token_budget", [4, 8, 16])
def test_every_call_at_every_budget(model, native, token_budget):
    options = {"token_budget": token_budget}
    image = tf.example_images()[0]
    for question in (*QUESTIONS, LONG):
        assert_same(
            [model.answer(image, question, **options)], [native.answer(image, question, **options)]
        )
    assert_same([model.caption(image, **options)], [native.caption(image, **options)])
    for max_tokens in (1, 2):
        cut = {"max_tokens": max_tokens, **options}
        assert_same([model.caption(image, **cut)], [native.caption(image, **cut)])
    candidates = ["yes", "no", "two red circles", "blue"]
    for got, want in zip(
        model.score(image, QUESTIONS[0], candidates, **options),
        native.score(image, QUESTIONS[0], candidates, **options),
        strict=True,
    ):
        assert (got.text, got.log_prob) == (want.text, pytest.approx(want.log_prob, abs=1e-3))
        assert got.probability == pytest.approx(want.probability, abs=BOUND)
    got, want = (one.token_map(image, **options).weights for one in (model, native))
    np.testing.assert_allclose(got, want, atol=BOUND)


def test_kept_tokens_go_between_backends(model, native, tmp_path):
    for maker, asker in ((model, native), (native, model)):
        for image in tf.example_images():
            maker.encode_image(image).save(tmp_path / "t.safetensors", overwrite=True)
            tokens = tf.ImageTokens.load(tmp_path / "t.safetensors")
            assert_same(
                [asker.answer(tokens, question, token_budget=8) for question in QUESTIONS],
                [maker.answer(tokens, question, token_budget=8) for question in QUESTIONS],
            )


def test_answers_that_end_at_different_times_in_one_batch(model, native):
    # Captions and answers, questions of two padded lengths, pictures and tokens of two budgets.
    images = tf.example_images()
    kept = native.encode_image(images[1], token_budget=4)
    sources = [images[0], kept, images[1], images[0], kept] * 2
    prompts = [*QUESTIONS, LONG, *reversed(QUESTIONS), LONG]
    want = [native.answer(s, text) for s, text in zip(sources, prompts, strict=True)]
    assert len({answer.token_budget for answer in want}) == 2
    assert_same(model.answer_many(sources, prompts), want)
    f_BND = np.stack([native.encode_image(image).f_ND for image in images[:3]])
    texts = [
        np.array(native._facts.tokenizer.encode(t, 64))
        for t in ("caption:", "answer: is there a star?", "caption:")
    ]
    got = model._runtime.generate_many(f_BND, texts, 32)
    assert len({len(ids) for ids, _ in got}) > 1
    for f_ND, text_ids, (ids, log_probs) in zip(f_BND, texts, got, strict=True):
        want_ids, want_log_probs = native._runtime.generate(f_ND, text_ids, 32)
        assert ids.tolist() == want_ids.tolist()
        np.testing.assert_allclose(log_probs, want_log_probs, atol=BOUND)


def test_eight_threads_at_once(model, native):
    images = tf.example_images()
    want = [native.answer(images[i % len(images)], QUESTIONS[i % 4]) for i in range(12)]

    def work(_):
        return [model.answer(images[i % len(images)], QUESTIONS[i % 4]) for i in range(12)]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for got in pool.map(work, range(8)):
            assert_same(got, want)


def test_what_was_loaded_can_be_read(exported_small):
    with load(exported_small, device="auto") as model:
        info = model.info
        assert (model.backend, info.backend, model.device) == ("onnxruntime", "onnxruntime", "cpu")
        assert (model.precision, info.num_threads, info.isa) == ("fp32", 2, "")
        assert info.device_reason.startswith("auto: onnxruntime ")
        assert "has no CUDAExecutionProvider" in info.device_reason
        assert info.precision_reason == "auto: fp32 is the most exact that the bundle has graphs of"
        assert "backend='onnxruntime'" in repr(model)
        folder = exported_small / "onnx" / "fp32"
        sizes = sum(path.stat().st_size for path in folder.iterdir())
        assert model.memory_report() == {"graph_file_bytes": sizes}
        model.warm_up(batch=8)
        with pytest.raises(errors.ConfigError, match="batch=9"):
            model.warm_up(batch=9)
        with pytest.raises(TypeError, match="do not go"):
            pickle.dumps(model)
    with pytest.raises(errors.ModelClosedError):
        model.answer(tf.example_images()[0], QUESTIONS[0])
    with tf.load(exported_small, device="cpu", num_threads=1) as model:
        assert (model.backend, model.info.backend) == ("native", "native")


def test_half_floats_on_a_cpu(exported_small):
    image = tf.example_images()[0]
    with load(exported_small, precision="fp16") as half, load(exported_small) as full:
        assert (half.precision, half.info.precision_reason) == ("fp16", "asked for")
        got, want = (model.encode_image(image).f_ND for model in (half, full))
        scale = np.abs(want).max()
        # 11 bits in each product of a few layers: close, and not the same.
        assert 0 < np.abs(got - want).max() < 0.02 * scale
        assert half.answer(image, QUESTIONS[0]).num_tokens > 0


def test_providers_are_taken_literally(exported_small):
    with load(exported_small, device="auto", providers=[CPU]) as model:
        assert (model.device, model.info.device_reason) == ("cpu", f"asked for: {CPU}")
    # This one has no kernels of its own: all would fall to the CPU.
    with pytest.raises(errors.DeviceError, match=f"{AZURE} has no .*MatMul.* of image_enc"):
        load(exported_small, device="auto", providers=[AZURE])
    with load(exported_small, device="auto", providers=(AZURE, CPU)) as model:
        assert model.device == AZURE
        assert model.answer(tf.example_images()[0], QUESTIONS[0]).num_tokens > 0


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_gpu_that_is_there_in_name_alone(exported_small, monkeypatch):
    # As where onnxruntime-gpu is installed on a machine without a GPU.
    there = ["CUDAExecutionProvider", CPU]
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: there)
    with load(exported_small, device="auto") as model:
        assert model.device == "cpu"
        assert "auto: CUDAExecutionProvider does not start: " in model.info.device_reason
    with pytest.raises(errors.DeviceError, match="CUDAExecutionProvider"):
        load(exported_small, device="cuda")


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"backend": "torch"}, errors.ConfigError, "choose one of native, onnxruntime"),
        ({"backend": "native", "providers": [CPU]}, errors.ConfigError, "backend='onnxruntime'"),
        ({"providers": []}, errors.ConfigError, "one name or more"),
        ({"providers": CPU}, errors.ConfigError, "a list of one name"),
        ({"providers": [(CPU, {})]}, errors.ConfigError, "a list of one name"),
        ({"providers": [CPU, CPU]}, errors.ConfigError, "names one twice"),
        ({"providers": ["Nope"]}, errors.DeviceError, "has no Nope; it has .*CPUExecution"),
        ({"device": "cuda", "providers": [CPU]}, errors.ConfigError, "runs on cpu"),
        ({"device": "cuda"}, errors.DeviceError, "no CUDAExecutionProvider .*device='cpu'"),
        ({"device": "tpu"}, errors.DeviceError, "choose one of auto, cpu, cuda"),
        ({"precision": "bf16"}, errors.PrecisionError, "no product in bf16 there.*fp32, fp16"),
        ({"precision": "int4"}, errors.PrecisionError, "'int4' is not offered by onnxruntime"),
        ({"precision": "int8"}, errors.PrecisionError, "it has fp32, fp16. `tokenfuse export -m"),
        ({"num_threads": 0}, errors.ConfigError, "num_threads"),
        ({"token_budget": 3}, errors.TokenBudgetError, "3"),
    ],
)
def test_options_that_are_refused(exported_small, options, error, match):
    with pytest.raises(error, match=match):
        tf.load(exported_small, **{"backend": "onnxruntime", "device": "cpu", **options})


def test_a_bundle_without_graphs_says_how_to_make_them(bundle, make_group):
    with pytest.raises(
        errors.BundleMissingFileError, match=r"has no ONNX graphs; `tokenfuse export"
    ):
        load(bundle)
    add_groups(bundle, bundle, {"onnx/bf16": make_group("onnx/bf16", bundle)}, overwrite=True)
    with pytest.raises(errors.PrecisionError, match="in bf16 alone, which ONNX Runtime does not"):
        load(bundle)


def test_onnxruntime_that_is_not_installed(exported_small, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(errors.DeviceError, match=r"pip install onnxruntime"):
        load(exported_small)
    with tf.load(exported_small, device="cpu") as model:
        assert model.backend == "native"


def test_a_norm_that_falls_to_the_cpu_is_told():
    """Of the text's layers these are all that is not also in others."""
    from onnx import TensorProto, helper, numpy_helper

    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [2, 3]) for n in "xy")
    nodes = [
        helper.make_node("Pow", ["x", "two"], ["squares"]),
        helper.make_node("ReduceMean", ["squares"], ["mean"]),
        helper.make_node("Sqrt", ["mean"], ["root"]),
        helper.make_node("Div", ["x", "root"], ["y"]),
    ]
    two = numpy_helper.from_array(np.float32(2), "two")
    made = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y], [two]),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )
    files = {f"{graph}.onnx": memoryview(made.SerializeToString()) for graph in GRAPHS}
    with pytest.raises(errors.DeviceError, match=f"{AZURE} has no .*ReduceMean, Sqrt of image_enc"):
        OnnxRuntimeExecutor(files, providers=[AZURE], num_threads=1)


def test_graphs_that_are_damaged_or_none_of_a_model(exported, make_group, capfd):
    path = exported / "onnx" / "fp32" / "decoder.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(errors.BundleHashError, match=r"decoder.onnx"):
        load(exported)
    with load(exported, precision="fp16") as model:
        assert model.precision == "fp16"
    # Graphs that ONNX Runtime opens, but whose inputs are others.
    add_groups(exported, exported, {"onnx/fp32": make_group("onnx/fp32", exported)}, overwrite=True)
    with load(exported) as model, pytest.raises(errors.DeviceError, match="cannot run image_enc"):
        model.encode_image(tf.example_images()[0])
    assert capfd.readouterr() == ("", "")


def test_weights_beside_the_graphs(exported_small, tmp_path, monkeypatch, check):
    import onnx

    apart, exported = tmp_path / "apart", tmp_path / "bundle"
    apart.mkdir()
    for path in (exported_small / "onnx" / "fp32").iterdir():
        beside = {"save_as_external_data": True, "location": f"{path.name}.data"}
        onnx.save(onnx.load(path), apart / path.name, **beside)
    add_groups(exported_small, exported, {"onnx/fp32": apart})
    files = read_bundle(exported).open_group("onnx/fp32")
    assert len(files["decoder.onnx.data"].data) > 10_000
    image = tf.example_images()[0]
    with load(exported_small) as model:
        want = model.encode_image(image).f_ND
        question = model.answer(image, QUESTIONS[0])
    # Another folder, so that a relative path would lead nowhere.
    monkeypatch.chdir(tmp_path)
    for method in (backend._FROM_MEMORY, "an older one has it not"):
        monkeypatch.setattr(backend, "_FROM_MEMORY", method)
        with load(exported) as model:
            check(model.encode_image(image).f_ND, want, BOUND)
            assert_same([model.answer(image, QUESTIONS[0])], [question])
    data = {name: file.data for name, file in files.items()}
    with pytest.raises(errors.DeviceError, match=r"no weights from memory.*install --up"):
        OnnxRuntimeExecutor(data, providers=[CPU], num_threads=1)


def test_an_operator_that_onnxruntime_has_not(capfd):
    from onnx import TensorProto, helper

    kind = TensorProto.BFLOAT16
    x, y = (helper.make_tensor_value_info(name, kind, [2, 2]) for name in "xy")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "x"], ["y"])], "g", [x], [y])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    data = memoryview(made.SerializeToString())
    files = {f"{graph}.onnx": data for graph in GRAPHS}
    with pytest.raises(errors.UnsupportedModelError, match=r"open image_enc.*NOT_IMPLEMENTED"):
        OnnxRuntimeExecutor(files, providers=[CPU], num_threads=1)
    files = dict.fromkeys(files, memoryview(b"no protobuf"))
    with pytest.raises(errors.UnsupportedModelError, match=r"cannot open image_encoder.onnx"):
        OnnxRuntimeExecutor(files, providers=[CPU], num_threads=1)
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_of_a_fork_is_told(exported_small):
    image = tf.example_images()[0]
    with load(exported_small) as model:
        model.answer(image, QUESTIONS[0])
        context = multiprocessing.get_context("fork")
        queue = context.SimpleQueue()

        def child():
            try:
                model.answer(image, QUESTIONS[0])
            except errors.DeviceError as error:
                queue.put(str(error))

        process = context.Process(target=child)
        process.start()
        process.join(60)
        assert process.exitcode == 0
        assert "load the model in the new process" in queue.get()


def test_nothing_is_written_to_standard_error(exported_small, capfd):
    with load(exported_small, device="auto", providers=[AZURE, CPU]) as model:
        model.answer(tf.example_images()[0], QUESTIONS[0])
    assert capfd.readouterr() == ("", "")
