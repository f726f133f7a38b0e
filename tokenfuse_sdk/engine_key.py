"""What a TensorRT engine was made of and for: it runs where all of that is the same.

TensorRT writes engines for one of its versions and one kind of GPU, and our graphs, batches and
budgets are part of them. The key of an engine says so; the key of what is here is compared with
it before a byte of the engine is given to TensorRT.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
import re
import shlex
from collections.abc import Mapping
from os import PathLike, fspath
from typing import Any

from tokenfuse_sdk.errors import BundleFormatError, EngineKeyError
from tokenfuse_sdk.graphs import GRAPHS

__all__ = [
    "ENGINE_PRECISIONS",
    "FLAVOURS",
    "TARGET",
    "EngineKey",
    "engine_group",
    "graph_sha256",
    "this_system",
]

FLAVOURS = ("tensorrt", "tensorrt_rtx")
# An engine's precision, and that of the ONNX graphs that it is built from. Around linears in 8
# bits a GPU computes in 16.
ENGINE_PRECISIONS = {"fp32": "fp32", "fp16": "fp16", "bf16": "bf16", "int8": "int8_fp16"}
# sm_86 is compute capability 8.6, sm_120 is 12.0.
TARGET = re.compile(r"sm_[0-9]{2,3}")

_SHA256 = re.compile(r"[0-9a-f]{64}")
# Messages show these: nothing that moves a terminal's cursor.
_WORD = re.compile(r"[A-Za-z0-9._+-]{1,64}")
# More of a kind than anybody builds one engine for.
_MAX_COUNT = 64
_MAX_LENGTH = 1 << 20


def this_system() -> tuple[str, str]:
    """Operating system and processor of this machine, as an engine's key names them."""
    return platform.system().lower(), platform.machine().lower()


def engine_group(target: str, precision: str) -> str:
    """The folder in a bundle of the engines for a target in a precision."""
    return f"engines/{target}-{precision}"


def graph_sha256(onnx: str, data: str | None = None) -> str:
    """One hash for a graph: that of its file, or of it and its weights' file where it has one."""
    return onnx if data is None else hashlib.sha256(f"{onnx} {data}".encode("ascii")).hexdigest()


def _check(name: str, value: object, ok: bool, need: str) -> None:
    if not ok:
        shown = repr(value)
        raise BundleFormatError(f"the engine's key: {name} is {shown[:80]}; need {need}")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EngineKey:
    """All that an engine depends on.

    Attributes:
        flavour: one of `FLAVOURS`, the kind of TensorRT.
        version: its version, in full.
        target: the GPU's compute capability, as "sm_86".
        os, arch: as `this_system` gives them.
        precision: one of `ENGINE_PRECISIONS`.
        batches: the numbers of pictures or questions of one call that it has profiles for.
        budgets: the token budgets that it has profiles for.
        text_lengths: the lengths that questions are padded to.
        onnx_sha256: graph to `graph_sha256` of the ONNX files that it was built from.
        weights_sha256: of the model.safetensors that the graphs were exported from.
    """

    flavour: str
    version: str
    target: str
    os: str
    arch: str
    precision: str
    batches: tuple[int, ...]
    budgets: tuple[int, ...]
    text_lengths: tuple[int, ...]
    onnx_sha256: Mapping[str, str]
    weights_sha256: str

    def __post_init__(self) -> None:
        choices = (("flavour", FLAVOURS), ("precision", tuple(ENGINE_PRECISIONS)))
        for name, allowed in choices:
            value = getattr(self, name)
            _check(name, value, value in allowed, f"one of {', '.join(allowed)}")
        for name in ("version", "os", "arch"):
            value = getattr(self, name)
            ok = isinstance(value, str) and _WORD.fullmatch(value) is not None
            _check(name, value, ok, "1 to 64 letters, digits, '.', '_', '+' or '-'")
        ok = isinstance(self.target, str) and TARGET.fullmatch(self.target) is not None
        _check("target", self.target, ok, "a compute capability as sm_86")
        for name in ("batches", "budgets", "text_lengths"):
            _check_numbers(name, getattr(self, name))
        hashes = self.onnx_sha256
        ok = isinstance(hashes, Mapping) and set(hashes) == set(GRAPHS)
        _check("onnx_sha256", hashes, ok, f"exactly {', '.join(GRAPHS)}")
        for name, value in (*hashes.items(), ("weights_sha256", self.weights_sha256)):
            ok = isinstance(value, str) and _SHA256.fullmatch(value) is not None
            _check(name, value, ok, "a sha256")

    @property
    def digest(self) -> str:
        """The sha256 of the key's canonical JSON: one word for all of it."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode("ascii")).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        lists = {name: list(value) for name, value in fields.items() if isinstance(value, tuple)}
        return fields | lists | {"onnx_sha256": {name: self.onnx_sha256[name] for name in GRAPHS}}

    @classmethod
    def from_dict(cls, value: object) -> EngineKey:
        """The key of what `to_dict` gave.

        Raises:
            BundleFormatError: a key is missing or unknown, or a value is none that it may have.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        if not isinstance(value, dict) or set(value) != set(names):
            raise BundleFormatError(f"the engine's key needs exactly {', '.join(names)}")
        lists = {name: tuple(part) for name, part in value.items() if isinstance(part, list)}
        return cls(**(value | lists))

    def check(self, here: EngineKey, bundle: str | PathLike[str]) -> None:
        """Check that this engine runs here.

        Args:
            here: the key that an engine has which is built here and now.
            bundle: the path of the engine's, for the message.

        Raises:
            EngineKeyError: it does not; names each difference, and how to build one that does.
        """
        mine, theirs = _flat(self), _flat(here)
        differences = [
            f"{name}: {mine[name]} in the engine, {theirs[name]} here"
            for name in mine
            if mine[name] != theirs[name]
        ]
        if differences:
            raise EngineKeyError(
                f"the engine {self.target}-{self.precision} is none for what is here ("
                f"{'; '.join(differences)}); build it anew, on a machine that can build for "
                f"{here.target}, with `{here.build_command(bundle)}`"
            )

    def build_command(self, bundle: str | PathLike[str]) -> str:
        """The command that puts engines of this key into a bundle, where their TensorRT is."""
        batches, budgets = (",".join(map(str, part)) for part in (self.batches, self.budgets))
        path = shlex.quote(fspath(bundle))
        return (
            f"tokenfuse build -m {path} -o {path} --flavour {self.flavour} --precision "
            f"{self.precision} --target {self.target} --batch {batches} --budget {budgets} "
            "--overwrite"
        )


def _flat(key: EngineKey) -> dict[str, Any]:
    """Field to value as messages show it, a hash to its first digits' worth."""
    fields = key.to_dict()
    hashes = {f"{name}.onnx": value for name, value in fields.pop("onnx_sha256").items()}
    hashes["weights"] = fields.pop("weights_sha256")
    return fields | {f"sha256 of {name}": value[:12] for name, value in hashes.items()}


def _check_numbers(name: str, value: object) -> None:
    ok = (
        isinstance(value, tuple)
        and 0 < len(value) <= _MAX_COUNT
        and all(type(number) is int and 0 < number <= _MAX_LENGTH for number in value)
        and list(value) == sorted(set(value))
    )
    _check(name, value, ok, f"1 to {_MAX_COUNT} ascending integers, 1 to {_MAX_LENGTH:,}")
