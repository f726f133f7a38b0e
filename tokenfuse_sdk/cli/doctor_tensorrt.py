"""What `tokenfuse doctor` says of TensorRT, and of a bundle's engines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenfuse_sdk.bundle import Bundle

__all__ = ["check_bundle_engines", "check_tensorrt"]


def check_tensorrt() -> dict[str, Any]:
    """Which TensorRT is here and for which GPU; not there is no failure."""
    from tokenfuse_sdk.runtime import tensorrt

    versions = ", ".join(tensorrt.installed_versions())
    lacking = tensorrt.unavailable_reason()
    if lacking is not None:
        return {"ok": None, "what": f"{versions}; {lacking}" if versions else lacking}
    return {"ok": True, "what": f"{versions}; {tensorrt.device_name(tensorrt.open_device())}"}


def check_bundle_engines(bundle: Bundle) -> dict[str, Any]:
    """Which engines of a bundle can run here; those for this GPU must."""
    from tokenfuse_sdk.errors import TokenfuseError
    from tokenfuse_sdk.runtime import tensorrt

    names = ", ".join(bundle.engine_names)
    if not names:
        return {
            "ok": None,
            "what": "none; `tokenfuse build` adds some, of TensorRT",
        }
    if tensorrt.unavailable_reason() is not None:
        return {"ok": None, "what": f"{names}; none can run here"}
    target = tensorrt.device_target(tensorrt.open_device())
    mine = [name for name in bundle.engine_names if name.startswith(f"{target}-")]
    if not mine:
        return {"ok": None, "what": f"{names}; none is for this GPU, {target}"}
    said, fit = [], True
    for name in mine:
        try:
            tensorrt.check_engines(bundle, name)
            said.append(f"{name} fits")
        # The error is the finding; the next engines are looked at all the same.
        except TokenfuseError as error:
            said.append(str(error))
            fit = False
    return {"ok": fit, "what": "; ".join(said)}
