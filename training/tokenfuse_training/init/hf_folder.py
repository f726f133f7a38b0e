"""A folder of Hugging Face: its config and its tensors, read without trust and without pickle.

Everything is checked as in a bundle: plain files, no links, sizes, headers; what a caller asks
for is finite. A file is mapped, so a tensor takes memory only when it is asked for.
"""

from __future__ import annotations

import errno
import os
import pathlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tokenfuse_sdk.bundle.safetensors_file import (
    DTYPES,
    TensorEntry,
    all_finite,
    parse_header,
    tensor_array,
)
from tokenfuse_sdk.errors import BundleError
from tokenfuse_sdk.mapped_file import MappedFile, map_plain_file
from tokenfuse_sdk.plain_file import read_plain_file
from tokenfuse_sdk.strict_json import parse_object
from tokenfuse_training.errors import InitError

__all__ = ["HfFolder"]

_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_MAX_JSON_BYTES, _MAX_TENSORS_BYTES, _MAX_SHARDS = 16 << 20, 64 << 30, 256
# NumPy has no bfloat16: its bits are the upper half of a float32.
_BF16 = np.dtype("<u2")
_DTYPES = DTYPES | {"BF16": _BF16, "F64": np.dtype("<f8"), "BOOL": np.dtype("u1")}


def _as_float32(array: np.ndarray) -> np.ndarray:
    if array.dtype == _BF16:
        return (array.astype(np.uint32) << 16).view(np.float32)
    # What is too large for float32 becomes infinite, which the caller refuses.
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


class HfFolder:
    """A checkpoint folder.

    Args:
        path: the folder; `where` (init.vision, init.text) names it in messages.

    Attributes:
        name: the folder's own, without its path.
        config: config.json.
        names: of all tensors.
        sha256: of the files that hold them, in order.

    Raises:
        InitError: no such folder, no config.json, no weights that can be read safely, or files
            that are damaged.
    """

    def __init__(self, path: str, where: str) -> None:
        self.where, self.path = f"{where}={path!r}", pathlib.Path(path)
        # In notes, which a model's card repeats: where it lies is nobody's business.
        name = self.path.absolute().name
        self.name = "".join(c if c.isprintable() else "?" for c in name)
        # Of `os`: what cannot be looked at is no folder either.
        if not path or not os.path.isdir(path):
            raise InitError(
                f"{self.where} is not a folder; name one that holds config.json and {_SINGLE}"
            )
        config = self.json_file("config.json")
        if config is None:
            raise self.error("has no config.json; name the folder of a Hugging Face model")
        self.config: dict[str, Any] = config
        self._files: list[MappedFile] = []
        self._tensors: dict[str, tuple[memoryview, int, TensorEntry]] = {}
        for name in self._shards():
            self._open(name)
        self.names = frozenset(self._tensors)
        self.sha256 = tuple(file.sha256 for file in self._files)

    def error(self, message: str) -> InitError:
        """What is wrong with this folder."""
        return InitError(f"{self.where} {message}")

    def _problem(self, name: str, error: OSError) -> InitError:
        if error.errno == errno.ELOOP:
            return self.error(
                f"holds the link {name}; need plain files: copy the folder with `cp -rL` first"
            )
        return self.error(f"holds {name}, which cannot be read: {error}")

    def file(self, name: str, max_bytes: int) -> bytes | None:
        """The bytes of a plain file; None where there is none."""
        try:
            return read_plain_file(self.path / name, max_bytes=max_bytes, follow_links=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._problem(name, error) from error

    def json_file(self, name: str) -> dict[str, Any] | None:
        """The object of a JSON file; None where there is none."""
        data = self.file(name, _MAX_JSON_BYTES)
        try:
            return None if data is None else parse_object(data, name)
        except BundleError as error:
            raise self.error(f"is damaged: {error}") from error

    def _shards(self) -> list[str]:
        # As Hugging Face looks for them: shards only where there is no single file.
        if os.path.lexists(self.path / _SINGLE):
            return [_SINGLE]
        index = self.json_file(_INDEX)
        if index is None:
            raise self._no_weights()
        where = index.get("weight_map")
        files: set[Any] = set(where.values()) if isinstance(where, dict) and where else {None}
        for name in files:
            plain = isinstance(name, str) and name == os.path.basename(name)
            if not plain or not name.endswith(".safetensors"):
                raise self.error(
                    f"has {_INDEX} that names {name!r}; need a weight_map of file names in this "
                    "folder that end with .safetensors"
                )
        if len(files) > _MAX_SHARDS:
            raise self.error(f"has {_INDEX} of {len(files)} files; at most {_MAX_SHARDS}")
        return sorted(files)

    def _no_weights(self) -> InitError:
        pickled = sorted(p.name for p in self.path.iterdir() if p.suffix in (".bin", ".pt", ".pth"))
        if not pickled:
            return self.error(f"has no {_SINGLE}, nor {_INDEX}; fetch the model's weights")
        return self.error(
            f"has {pickled[0]} and no {_SINGLE}: that is pickle, which may run any code when it "
            "is read, so it is not. Convert it once, where you trust it, with "
            "`transformers.AutoModel.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER)` (for a "
            "T5 with its output head `AutoModelForSeq2SeqLM`)"
        )

    def _open(self, name: str) -> None:
        try:
            file = map_plain_file(
                self.path / name, max_bytes=_MAX_TENSORS_BYTES, follow_links=False
            )
            entries, begin, _ = parse_header(file.data, name, _DTYPES)
        except FileNotFoundError as error:
            raise self.error(f"lacks {name}, which {_INDEX} names; fetch it") from error
        except OSError as error:
            raise self._problem(name, error) from error
        except BundleError as error:
            raise self.error(f"is damaged: {error}; fetch it again") from error
        self._files.append(file)
        for entry in entries:
            if entry.name in self._tensors:
                raise self.error(f"has the tensor {entry.name!r} in two files")
            self._tensors[entry.name] = (file.data, begin, entry)

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a tensor that is there."""
        return self._tensors[name][2].shape

    def tensor(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """A tensor as float32, whatever floats it is stored as.

        Raises:
            InitError: it is missing, of another shape, no floats, or not finite.
        """
        if name not in self._tensors:
            raise self.error(f"lacks the tensor {name!r}, which its config.json asks for")
        data, begin, entry = self._tensors[name]
        if entry.shape != shape:
            raise self.error(
                f"has {name!r} of shape {list(entry.shape)}; its config.json asks for {list(shape)}"
            )
        if entry.dtype.kind != "f" and entry.dtype != _BF16:
            raise self.error(f"has {name!r} of {entry.dtype}; weights are F32, F16, BF16 or F64")
        array = _as_float32(tensor_array(data, begin, entry))
        if not all_finite(array):
            raise self.error(
                f"has NaN or infinity in {name!r}, as float32; the checkpoint is damaged"
            )
        return torch.from_numpy(array)
