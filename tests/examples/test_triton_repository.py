"""A model repository for Triton Inference Server: what it says, and what its Python model does.

The settings are parsed by the server's own schema, which its client publishes.
"""

from __future__ import annotations

import hashlib
import importlib.util
import pathlib
import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import pytest
import triton_repository
from triton_stand_in import DTYPES, Tensor, backend_utils, check_tensors, kind_of

import tokenfuse_sdk as tf
from tokenfuse_sdk.bundle import add_groups, read_bundle
from tokenfuse_sdk.engine_file import EngineFile, EngineProfile
from tokenfuse_sdk.engine_key import EngineKey
from tokenfuse_sdk.graphs import GRAPHS, text_lengths
from tokenfuse_sdk.shipped import example_questions


def write(bundle: pathlib.Path, repository: pathlib.Path, *options: str) -> None:
    """The example's `main`, as from a shell."""
    arguments = sys.argv
    sys.argv = ["triton_repository.py", str(bundle), str(repository), *options]
    try:
        triton_repository.main()
    finally:
        sys.argv = arguments


@pytest.fixture(scope="session")
def parse() -> Callable[[pathlib.Path], dict[str, Any]]:
    """A repository's settings by model."""
    from google.protobuf import text_format

    # The file alone: the package around it wants gRPC.
    spec = importlib.util.find_spec("tritonclient")
    assert spec is not None and spec.submodule_search_locations
    path = pathlib.Path(spec.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
    schema = load("model_config_pb2", path)

    def parse(repository: pathlib.Path) -> dict[str, Any]:
        paths = sorted(repository.glob("*/config.pbtxt"))
        return {
            path.parent.name: text_format.Parse(path.read_text("utf-8"), schema.ModelConfig())
            for path in paths
        }

    return parse


def load(name: str, path: pathlib.Path) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def repository(exported_nano, tmp_path_factory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("triton") / "repository"
    write(exported_nano, path, "--max-batch", "4", "--instances", "3")
    return path


def test_the_settings_are_those_of_the_files(repository, parse):
    configs = parse(repository)
    assert sorted(configs) == sorted([*GRAPHS, "answer"])
    assert all(config.name == name for name, config in configs.items())
    kinds = {"tensor(float)": "TYPE_FP32", "tensor(int32)": "TYPE_INT32"}
    for graph in GRAPHS:
        config = configs[graph]
        assert (config.backend, config.max_batch_size) == ("onnxruntime", 4)
        assert config.HasField("dynamic_batching")
        session = onnxruntime.InferenceSession(repository / graph / "1" / "model.onnx")
        for declared, real in (
            (config.input, session.get_inputs()),
            (config.output, session.get_outputs()),
        ):
            assert {tensor.name for tensor in declared} == {tensor.name for tensor in real}
            by_name = {tensor.name: tensor for tensor in real}
            for tensor in declared:
                own = by_name[tensor.name]
                shape = [axis if isinstance(axis, int) else -1 for axis in own.shape]
                assert [-1, *tensor.dims] == shape, tensor.name
                assert kind_of(tensor) == kinds[own.type]
    answer = configs["answer"]
    assert (answer.backend, answer.max_batch_size) == ("python", 0)
    assert answer.instance_group[0].count == 3


class Server:
    """The model `answer` of a repository, in a server that is none."""

    def __init__(self, repository: pathlib.Path, configs: dict[str, Any], utils: Any) -> None:
        self._config, self._utils = configs["answer"], utils
        self._model = load("model", repository / "answer" / "1" / "model.py").TritonPythonModel()
        self._model.initialize({"model_name": "answer"})

    def ask(self, *requests: dict[str, Any]) -> list[Any]:
        made = []
        for request in requests:
            arrays = {
                name: np.array(value, object) if name in ("image", "questions") else value
                for name, value in request.items()
            }
            tensors = [Tensor(name, array) for name, array in arrays.items()]
            check_tensors(self._config.input, tensors, self._config.max_batch_size)
            made.append(
                self._utils.InferenceRequest(
                    model_name="answer", requested_output_names=[], inputs=tensors
                )
            )
        responses = self._model.execute(made)
        assert len(responses) == len(requests)
        for response in responses:
            if not response.has_error():
                check_tensors(self._config.output, response.output_tensors(), 0)
        return responses


@pytest.fixture
def server(repository, parse, monkeypatch) -> Server:
    configs = parse(repository)
    utils = backend_utils(repository, configs)
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", utils)
    # It finds its own copy, beside it, and the path is as it was afterwards.
    monkeypatch.delitem(sys.modules, "foreign_runtime", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return Server(repository, configs, utils)


def outputs(response: Any) -> dict[str, np.ndarray]:
    assert not response.has_error(), response.error().message()
    return {tensor.name(): tensor.as_numpy() for tensor in response.output_tensors()}


def test_the_server_answers_like_the_sdk(server):
    asked = example_questions()
    paths = tf.example_images()[:2]
    questions = [[entry["question"] for entry in asked[path.name]] for path in paths]
    requests = [
        {"image": [path.read_bytes()], "questions": [text.encode() for text in texts]}
        for path, texts in zip(paths, questions, strict=True)
    ]
    with tf.load("scenes-nano", device="cpu", precision="fp32") as model:
        for path, texts, response in zip(paths, questions, server.ask(*requests), strict=True):
            got, want = outputs(response), model.answer_many(path, texts)
            assert [text.decode() for text in got["answers"]] == [a.text for a in want]
            shares = [a.confidence for a in want]
            np.testing.assert_allclose(got["confidences"], shares, atol=1e-4)
            # What was kept of a picture answers too, and so does a smaller budget of it.
            kept = got["image_tokens"][:8]
            again = outputs(server.ask({"image_tokens": kept, "questions": [texts[0].encode()]})[0])
            assert again["answers"][0].decode() == model.answer(path, texts[0], token_budget=8).text


def test_a_bad_request_is_told_so_and_the_others_are_answered(server):
    picture = tf.example_images()[0].read_bytes()
    good = {"image": [picture], "questions": [b"is there a red thing?"]}
    bad = [
        {"image": [b"no picture"], "questions": [b"is there a star?"]},
        {"image": [picture], "questions": [b"star " * 64]},
        {"questions": [b"is there a star?"]},
    ]
    answered, *refused = server.ask(good, *bad)
    assert list(outputs(answered)["answers"]) == [b"yes"]
    messages = [response.error().message() for response in refused]
    assert "cannot identify image" in messages[0]
    assert "has 67 tokens with its end; at most 64" in messages[1]
    assert "give `image` or" in messages[2]


def test_weights_beside_a_graph_stay_beside_it(bundle, make_group, tmp_path):
    import onnx

    group = make_group("onnx/fp32", bundle)
    path = group / "text_fusion.onnx"
    # y = x becomes y = x + weight, and the weight goes into a file of its own.
    model = onnx.load(path)
    weight = onnx.numpy_helper.from_array(np.array([3], np.float32), "weight")
    model.graph.initializer.append(weight)
    model.graph.node[0].CopyFrom(onnx.helper.make_node("Add", ["x", "weight"], ["y"]))
    beside = {"location": f"{path.name}.data", "size_threshold": 0}
    onnx.save_model(model, path, save_as_external_data=True, **beside)
    add_groups(bundle, bundle, {"onnx/fp32": group}, overwrite=True)
    write(bundle, tmp_path / "repository")
    version = tmp_path / "repository" / "text_fusion" / "1"
    served = onnxruntime.InferenceSession(version / "model.onnx" / "model.onnx")
    assert served.run(None, {"x": np.array([4, 5], np.float32)})[0].tolist() == [7, 8]
    assert (tmp_path / "repository" / "decoder" / "1" / "model.onnx").is_file()


def engines(bundle: pathlib.Path, folder: pathlib.Path, flavour: str) -> None:
    """Engines for batch 1 and 8 as `tokenfuse build` describes them; they are none."""
    read = read_bundle(bundle)
    budgets, latents = read.config.fusion.token_budgets, read.config.fusion.num_latents
    key = EngineKey(
        flavour=flavour,
        version="10.3.0",
        target="sm_87",
        os="linux",
        arch="aarch64",
        precision="fp16",
        batches=(1, 8),
        budgets=budgets,
        text_lengths=text_lengths(read.config),
        onnx_sha256={graph: "0" * 64 for graph in GRAPHS},
        weights_sha256=read.digest,
    )
    kinds = {"image_encoder": ["encode"], "text_fusion": ["fuse"], "decoder": ["step", "score"]}
    profiles = []
    for graph in GRAPHS:
        sizes = [latents] if graph == "image_encoder" else budgets
        calls = [(b, n, kind) for b in (1, 8) for n in sizes for kind in kinds[graph]]
        profiles += [
            EngineProfile(graph=graph, index=i, kind=kind, batch=b, budget=n)
            for i, (b, n, kind) in enumerate(calls)
        ]
    parts = {graph: (folder / f"{graph}.engine").read_bytes() for graph in GRAPHS}
    files = {g: (len(data), hashlib.sha256(data).hexdigest()) for g, data in parts.items()}
    file = EngineFile(key=key, profiles=tuple(profiles), files=files)
    (folder / "engine.json").write_bytes(file.to_json())
    add_groups(bundle, bundle, {"engines/sm_87-fp16": folder}, overwrite=True)


def test_engines_are_served_by_their_profiles(bundle, make_group, parse, tmp_path):
    group = make_group("engines/sm_87-fp16", bundle)
    engines(bundle, group, "tensorrt")
    write(bundle, tmp_path / "repository", "--engines", "sm_87-fp16")
    configs = parse(tmp_path / "repository")
    profiles = {name: list(configs[name].instance_group[0].profile) for name in GRAPHS}
    # Three budgets; of the decoder those of single steps alone.
    assert profiles == {
        "image_encoder": ["0"],
        "text_fusion": ["0", "1", "2"],
        "decoder": ["0", "2", "4"],
    }
    for graph in GRAPHS:
        assert configs[graph].backend == "tensorrt"
        assert configs[graph].max_batch_size == 1
        assert not configs[graph].HasField("dynamic_batching")
        plan = tmp_path / "repository" / graph / "1" / "model.plan"
        assert plan.read_bytes() == (group / f"{graph}.engine").read_bytes()
    assert [tensor.name for tensor in configs["image_encoder"].output] == ["f_BND"]


def test_what_cannot_be_served_leaves_nothing(bundle, make_group, tmp_path):
    repository = tmp_path / "repository"
    with pytest.raises(SystemExit, match="has no onnx/fp16"):
        write(bundle, repository, "--precision", "fp16")
    engines(bundle, make_group("engines/sm_87-fp16", bundle), "tensorrt_rtx")
    with pytest.raises(SystemExit, match="are of tensorrt_rtx for the batches"):
        write(bundle, repository, "--engines", "sm_87-fp16")
    assert not repository.exists()
    repository.mkdir()
    with pytest.raises(SystemExit, match="repository exists; pass another folder"):
        write(bundle, repository)


def test_every_type_is_known(repository, parse):
    configs = parse(repository).values()
    tensors = [tensor for config in configs for tensor in (*config.input, *config.output)]
    assert {kind_of(tensor) for tensor in tensors} == set(DTYPES)
