"""`tokenfuse doctor`: does everything work here, and if not, what to do."""

from __future__ import annotations

import importlib.util
import json
import platform
import sys
from collections.abc import Callable
from typing import Any

import click

from tokenfuse_sdk.cli.doctor_tensorrt import check_bundle_engines, check_tensorrt

__all__ = ["doctor"]

# Optional modules and what they are for.
_OPTIONAL = {
    "torch": "training, exporting",
    "sklearn": "the scenes data",
    "onnx": "exporting to ONNX",
    "onnxscript": "exporting to ONNX",
}


def _native() -> dict[str, Any]:
    from tokenfuse_sdk.native import load_native

    native = load_native()
    try:
        chosen = native.chosen_isa()
    except ValueError as error:
        return {"ok": False, "what": str(error)}
    available = ", ".join(native.available_isas())
    return {
        "ok": True,
        "what": f"{chosen} (available: {available}), {native.default_num_threads()} threads",
    }


def _cuda() -> dict[str, Any]:
    from tokenfuse_sdk.runtime import native_cuda

    why = native_cuda.unavailable_reason()
    if why is not None:
        return {"ok": None, "what": why}
    return {"ok": True, "what": native_cuda.device_name()}


def _model(name: str) -> dict[str, Any]:
    from tokenfuse_sdk.bundle import read_bundle
    from tokenfuse_sdk.golden import GOLDEN_BOUND, golden_error
    from tokenfuse_sdk.runtime import choose_precision, open_runtime, place
    from tokenfuse_sdk.shipped import find_bundle

    bundle = read_bundle(find_bundle(name))
    for precision in bundle.onnx_precisions:
        bundle.open_group(f"onnx/{precision}")
    exact = open_runtime(bundle.config, bundle.weights, place("cpu", "fp32"))
    error = golden_error(bundle, exact)
    choice = choose_precision(place(), bundle)
    size = f"{bundle.size_bytes / 1e6:.1f} MB verified"
    return {
        "ok": error < GOLDEN_BOUND,
        "what": f"{size}; golden outputs within {error:.1e} (bound {GOLDEN_BOUND:.0e}); "
        f"runs on {choice.device} in {choice.precision} ({choice.precision_reason})",
    }


def _model_on_gpu(name: str) -> dict[str, Any]:
    from tokenfuse_sdk.bundle import read_bundle
    from tokenfuse_sdk.golden import GOLDEN_BOUND_16, golden_error
    from tokenfuse_sdk.runtime import choose_precision, open_runtime, place
    from tokenfuse_sdk.shipped import find_bundle

    bundle = read_bundle(find_bundle(name))
    choice = choose_precision(place("cuda"), bundle)
    assert choice.precision is not None
    error = golden_error(bundle, open_runtime(bundle.config, bundle.weights, choice))
    bound = GOLDEN_BOUND_16[choice.precision]
    return {
        "ok": error < bound,
        "what": f"golden outputs within {error:.1e} (bound {bound:.0e}) in {choice.precision}",
    }


def _onnxruntime() -> dict[str, Any]:
    from tokenfuse_sdk.errors import DeviceError
    from tokenfuse_sdk.runtime.onnxruntime import load_onnxruntime

    try:
        module = load_onnxruntime()
    except DeviceError as error:
        return {"ok": None, "what": str(error)}
    providers = ", ".join(module.get_available_providers())
    return {"ok": None, "what": f"{module.__version__}, with {providers}"}


def _engines(name: str) -> dict[str, Any]:
    from tokenfuse_sdk.bundle import read_bundle
    from tokenfuse_sdk.shipped import find_bundle

    return check_bundle_engines(read_bundle(find_bundle(name)))


def _optional(name: str) -> dict[str, Any]:
    there = importlib.util.find_spec(name) is not None
    return {"ok": None, "what": f"{'there' if there else 'not there'}; for {_OPTIONAL[name]}"}


def _checked(check: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    # A doctor reports any failure and goes on to the next check.
    try:
        return check()
    except Exception as error:
        return {"ok": False, "what": f"{type(error).__name__}: {error}"}


def _run_checks(model: str | None = None) -> dict[str, dict[str, Any]]:
    """Of one model, or of all that are shipped."""
    from tokenfuse_sdk import __version__
    from tokenfuse_sdk.shipped import shipped_models

    version = ".".join(map(str, sys.version_info[:3]))
    machine = f"Python {version}, {platform.system()} {platform.machine()}"
    checks: dict[str, dict[str, Any]] = {
        "tokenfuse": {"ok": True, "what": f"{__version__}, {machine}"},
        "CPU engine": _checked(_native),
        "CUDA engine": _checked(_cuda),
        "TensorRT": _checked(check_tensorrt),
    }
    models = shipped_models() if model is None else (model,)
    if not models:
        checks["models"] = {"ok": False, "what": "no shipped model; install the package again"}
    for name in models:
        checks[f"model {name}"] = _checked(lambda name=name: _model(name))  # type: ignore[misc]
        if checks["CUDA engine"]["ok"]:
            checks[f"model {name} on the GPU"] = _checked(
                lambda name=name: _model_on_gpu(name)  # type: ignore[misc]
            )
        checks[f"engines of {name}"] = _checked(
            lambda name=name: _engines(name)  # type: ignore[misc]
        )
    checks["onnxruntime"] = _checked(_onnxruntime)
    for name in _OPTIONAL:
        checks[name] = _checked(lambda name=name: _optional(name))  # type: ignore[misc]
    return checks


@click.command()
@click.option(
    "-m",
    "--model",
    "model_name",
    default=None,
    help="A bundle's path or a shipped model's name, to check that alone. Default: all shipped.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@click.pass_context
def doctor(ctx: click.Context, model_name: str | None, as_json: bool) -> None:
    """Check the installation: engine, models and their golden outputs, optional parts.

    Exits with 1 when something that must work does not.
    """
    checks = _run_checks(model_name)
    if as_json:
        click.echo(json.dumps(checks, indent=2))
    else:
        marks = {True: "ok", False: "FAILED", None: "-"}
        width = max(map(len, checks))
        for name, result in checks.items():
            click.echo(f"{name:<{width}}  {marks[result['ok']]:<6}  {result['what']}")
    if any(result["ok"] is False for result in checks.values()):
        ctx.exit(1)
