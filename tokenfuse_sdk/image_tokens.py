"""What is kept of a picture: the merged image tokens, small and storable.

Shapes: N tokens, D fusion width.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokenfuse_sdk.bundle import read_safetensors
from tokenfuse_sdk.errors import (
    BundleError,
    OutputExistsError,
    TokensError,
    TokensMissingFileError,
)
from tokenfuse_sdk.plain_file import PlainFileError, read_plain_file

__all__ = ["ImageTokens"]

_FORMAT = "tokenfuse-image-tokens"
_VERSION = "1"
# 4,096 tokens of width 8,192 are 128 MiB: the largest that a config may have.
_MAX_FILE_BYTES = (128 << 20) + (1 << 20)
_PASS_ANOTHER = "pass a file that ImageTokens.save wrote"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImageTokens:
    """The merged tokens of one picture: ask as many questions of them as you like.

    The first n rows are what a token budget of n would have made, so tokens serve
    every budget up to their own.

    Attributes:
        f_ND: (N, D) float32, read-only.
        model_name: who made them.
        weights_sha256: of that model's weights; only the same model reads them.
    """

    f_ND: NDArray[np.float32]
    model_name: str
    weights_sha256: str

    def __post_init__(self) -> None:
        array = self.f_ND
        if array.dtype != np.float32 or array.ndim != 2 or not array.size:
            raise TokensError(
                f"image tokens of {array.dtype} {list(array.shape)}; need float32 (N, D)"
            )
        if not np.isfinite(array).all():
            raise TokensError("the image tokens hold NaN or infinity; encode the picture again")
        if array.flags.writeable or not array.flags.c_contiguous:
            array = np.array(array, order="C")
            array.setflags(write=False)
            object.__setattr__(self, "f_ND", array)

    def __reduce__(self) -> tuple[Any, ...]:
        # By the constructor, so that a copy from another process is read-only and checked too.
        made_by = {"model_name": self.model_name, "weights_sha256": self.weights_sha256}
        return functools.partial(type(self), f_ND=self.f_ND, **made_by), ()

    @property
    def num_tokens(self) -> int:
        """N."""
        return int(self.f_ND.shape[0])

    @property
    def num_bytes(self) -> int:
        """Bytes of the numbers alone."""
        return int(self.f_ND.nbytes)

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write a safetensors file, whole or not at all.

        Raises:
            OutputPathError: no file can be made there: no such folder, a folder itself, no
                permission, no room. Nothing is left.
            OutputExistsError: the path exists and `overwrite` was not given.
        """
        # An answer needs neither.
        from safetensors.numpy import save

        from tokenfuse_sdk.atomic import check_output_file, write_output

        words = {"what": "the image tokens", "other": "another path"}
        check_output_file(path, **words)
        if not overwrite and os.path.lexists(path):
            raise OutputExistsError(f"{path} exists; pass overwrite=True or another path")
        metadata = {
            "format": _FORMAT,
            "version": _VERSION,
            "model_name": self.model_name,
            "weights_sha256": self.weights_sha256,
        }
        write_output(path, save({"image_tokens": self.f_ND}, metadata=metadata), **words)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ImageTokens:
        """Read what `save` wrote.

        Raises:
            TokensMissingFileError: it is not there.
            TokensError: it cannot be read, is no such file, damaged, or with values that are
                not finite.
        """
        if not os.fspath(path):
            raise TokensError(f"the path of the image tokens is empty; {_PASS_ANOTHER}")
        try:
            data = read_plain_file(path, max_bytes=_MAX_FILE_BYTES)
        except FileNotFoundError as error:
            raise TokensMissingFileError(f"there is no file {path}; {_PASS_ANOTHER}") from error
        except PlainFileError as error:
            raise TokensError(f"{error}; {_PASS_ANOTHER}") from error
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise TokensError(f"{path} cannot be read ({reason}); {_PASS_ANOTHER}") from error
        try:
            arrays, metadata = read_safetensors(data, str(path))
        except BundleError as error:
            raise TokensError(f"{error}; encode the picture again") from error
        known = metadata.get("format") == _FORMAT and set(arrays) == {"image_tokens"}
        if not known or metadata.get("version") != _VERSION:
            raise TokensError(
                f"{path} does not hold image tokens of version {_VERSION}; {_PASS_ANOTHER}"
            )
        return cls(
            f_ND=arrays["image_tokens"],
            model_name=metadata.get("model_name", ""),
            weights_sha256=metadata.get("weights_sha256", ""),
        )
