"""A real Triton Inference Server serves the repository and answers like the SDK.

TOKENFUSE_TRITON names an environment with the server and what runs in it:

    python -m venv ENV && ENV/bin/pip install nvidia-pytriton "numpy<2" onnxruntime pillow \\
        tokenizers "tritonclient[http]"

That server has the Python backend alone, built for NumPy 1. `onnx_backend.py` takes the place of
its backend for ONNX Runtime, so the settings are served as they are.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator

import pytest
import triton_repository

import tokenfuse_sdk as tf
from tokenfuse_sdk.shipped import example_questions

HERE = pathlib.Path(__file__).parent
ENVIRONMENT = os.environ.get("TOKENFUSE_TRITON")
START_S = 60

pytestmark = pytest.mark.skipif(
    ENVIRONMENT is None, reason="TOKENFUSE_TRITON names no environment with nvidia-pytriton"
)

CLIENT = """
import json, sys
import numpy as np
import tritonclient.http as triton

client = triton.InferenceServerClient(sys.argv[1])
for picture, questions in json.load(sys.stdin).items():
    inputs = []
    for name, values in (
        ("image", [open(picture, "rb").read()]),
        ("questions", [text.encode() for text in questions]),
    ):
        inputs.append(triton.InferInput(name, [len(values)], "BYTES"))
        inputs[-1].set_data_from_numpy(np.array(values, object))
    result = client.infer("answer", inputs)
    kept = triton.InferInput("image_tokens", [8, result.as_numpy("image_tokens").shape[1]], "FP32")
    kept.set_data_from_numpy(result.as_numpy("image_tokens")[:8])
    again = client.infer("answer", [kept, inputs[1]])
    print(json.dumps([[text.decode() for text in r.as_numpy("answers")] for r in (result, again)]))
"""


@contextlib.contextmanager
def serving(repository: pathlib.Path, folder: pathlib.Path) -> Iterator[str]:
    """The server, ready; gives its address."""
    python = f"{ENVIRONMENT}/bin/python"
    code = (
        "import json, pathlib, sys, sysconfig, pytriton; print(json.dumps(["
        "str(pathlib.Path(pytriton.__file__).parent), '%d.%d' % sys.version_info[:2], "
        "sysconfig.get_config_var('LIBDIR')]))"
    )
    found = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    package, version, libraries = json.loads(found.stdout)
    server = pathlib.Path(package) / "tritonserver"
    backends = folder / "backends"
    shutil.copytree(server / "backends", backends)
    stub = server / "python_backend_stubs" / version / "triton_python_backend_stub"
    shutil.copy(stub, backends / "python")
    (backends / "python" / stub.name).chmod(0o755)
    (backends / "onnxruntime").mkdir()
    shutil.copy(HERE / "onnx_backend.py", backends / "onnxruntime" / "model.py")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        server / "bin" / "tritonserver",
        f"--model-repository={repository}",
        f"--backend-directory={backends}",
        f"--http-port={port}",
        "--http-address=127.0.0.1",
        "--allow-grpc=false",
        "--allow-metrics=false",
    ]
    # The stub takes the Python that it finds on the path.
    environment = {name: os.environ[name] for name in ("HOME", "TMPDIR") if name in os.environ} | {
        "PATH": f"{ENVIRONMENT}/bin:{os.environ['PATH']}",
        "LD_LIBRARY_PATH": f"{pathlib.Path(package).parent / 'nvidia_pytriton.libs'}:{libraries}",
    }
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [*map(str, command)], env=environment, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            wait_for(f"http://127.0.0.1:{port}/v2/health/ready", process, folder / "log")
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(START_S)


def wait_for(address: str, process: subprocess.Popen, log: pathlib.Path) -> None:
    until = time.monotonic() + START_S
    while True:
        with contextlib.suppress(OSError), urllib.request.urlopen(address):
            return
        assert process.poll() is None and time.monotonic() < until, log.read_text()[-4_000:]
        time.sleep(0.2)


def test_a_real_server_answers_like_the_sdk(exported_nano, tmp_path, monkeypatch):
    repository = tmp_path / "repository"
    monkeypatch.setattr("sys.argv", ["triton_repository.py", str(exported_nano), str(repository)])
    triton_repository.main()
    asked = {
        str(path): [entry["question"] for entry in example_questions()[path.name]]
        for path in tf.example_images()
    }
    with serving(repository, tmp_path) as address:
        done = subprocess.run(
            [f"{ENVIRONMENT}/bin/python", "-c", CLIENT, address],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr + (tmp_path / "log").read_text()[-4_000:]
    got = [json.loads(line) for line in done.stdout.splitlines()]
    with tf.load("scenes-nano", device="cpu", precision="fp32") as model:
        want = [
            [[model.answer(path, q, token_budget=n).text for q in questions] for n in (16, 8)]
            for path, questions in asked.items()
        ]
    assert got == want
