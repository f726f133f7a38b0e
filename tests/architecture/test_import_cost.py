"""`import tokenfuse_sdk` stays light: no framework, no CLI library, nothing compiled in."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("torch", "onnx", "onnxruntime", "tensorrt", "transformers", "sklearn", "scipy", "rich")


def test_import_loads_nothing_heavy():
    code = "import sys, tokenfuse_sdk; print('\\n'.join(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in run.stdout.split()}
    assert "tokenfuse_sdk" in loaded
    assert not loaded & set(HEAVY)


def test_help_loads_no_torch():
    code = (
        "import sys\n"
        "from tokenfuse_sdk.cli.main import main\n"
        "sys.argv = ['tokenfuse', '--help']\n"
        "try:\n    main()\n"
        "except SystemExit as stop:\n    assert not stop.code, stop.code\n"
        "assert 'torch' not in sys.modules\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    for verb in ("demo", "answer", "info", "doctor", "flops", "evaluate", "precisions", "train"):
        assert verb in run.stdout
