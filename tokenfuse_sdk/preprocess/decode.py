"""Open a picture: a path, bytes, a PIL image or an array, to uint8 RGB (H, W, 3)."""

from __future__ import annotations

import contextlib
import io
import os
import pathlib
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from tokenfuse_sdk.errors import ImageError, ImageFormatError, ImageTooLargeError
from tokenfuse_sdk.plain_file import (
    FileChangedError,
    FileTooLargeError,
    NotPlainFileError,
    read_plain_file,
)

__all__ = ["MAX_FILE_BYTES", "MAX_PIXELS", "ImageSource", "decode_image"]

ImageSource = str | os.PathLike[str] | bytes | bytearray | memoryview | Image.Image | np.ndarray

# The largest phone cameras make 200 megapixels; the model sees 64 to 224 pixels a side.
# At 3 bytes each this bounds the decoded picture to 192 MB.
MAX_PIXELS = 64_000_000
MAX_FILE_BYTES = 64 << 20

# Pillow knows some 40 more: EPS runs Ghostscript, and the icon formats hold an inner picture
# that their header knows nothing of. JPEG opens a phone's MPO too; the two commonest come first.
_FORMATS = ("JPEG", "PNG", "BMP", "DIB", "GIF", "PPM", "WEBP", "TIFF")

_ALLOWED = "a path, bytes, a PIL image or a uint8 array (H, W, 3)"


def decode_image(image: ImageSource) -> np.ndarray:
    """Decode a picture to uint8 RGB, upright.

    EXIF rotation is applied. Greyscale, palette and CMYK become RGB; 16-bit grey is
    scaled to 8 bits; transparent pixels are laid over white. Of a phone's
    multi-picture JPEG the first is taken; animations are refused. The argument is
    not changed.

    Args:
        image: a path, the bytes of a file, a PIL image, or a uint8 array (H, W, 3).

    Returns:
        uint8 (H, W, 3), C-contiguous.

    Raises:
        ImageFormatError: not a picture, or of a kind that is refused.
        ImageTooLargeError: more than 64 million pixels, or a file of more than 64 MiB.
        ImageError: the file cannot be read.
    """
    if isinstance(image, np.ndarray):
        return _checked_array(image)
    if isinstance(image, Image.Image):
        return _to_rgb(image, "the PIL image")
    if isinstance(image, bytes | bytearray | memoryview):
        data = bytes(image)
        if len(data) > MAX_FILE_BYTES:
            raise ImageTooLargeError(
                f"the image has {len(data)} bytes; at most {MAX_FILE_BYTES}. Make it smaller"
            )
        return _decode_bytes(data, "the image")
    if isinstance(image, str | os.PathLike):
        if not os.fspath(image):
            raise ImageError(f"the path of the image is empty; need {_ALLOWED}")
        if "://" in str(image):
            raise ImageError(f"{image} is an address; nothing is fetched, pass a file")
        path = pathlib.Path(image)
        return _decode_bytes(_read_file(path), str(path))
    raise ImageFormatError(f"the image is a {type(image).__name__}; need {_ALLOWED}")


def _checked_array(array: np.ndarray) -> np.ndarray:
    given = f"the image is an array of {array.dtype} {array.shape}"
    if array.dtype != np.uint8:
        raise ImageFormatError(f"{given}; need uint8, values 0 to 255")
    if array.ndim != 3 or array.shape[2] != 3:
        hint = ""
        if array.ndim == 2:
            hint = "; stack a grey one three times"
        elif array.ndim == 3 and array.shape[0] == 3:
            hint = "; move the channels last"
        elif array.ndim == 3 and array.shape[2] == 4:
            hint = "; drop the alpha channel"
        raise ImageFormatError(f"{given}; need (H, W, 3){hint}")
    if array.size == 0:
        raise ImageFormatError(f"{given}; it has no pixels")
    _check_pixels(array.shape[1], array.shape[0], "the image")
    return np.ascontiguousarray(array)


def _check_pixels(width: int, height: int, name: str) -> None:
    if width * height > MAX_PIXELS:
        raise ImageTooLargeError(
            f"{name} has {width} x {height} pixels; at most {MAX_PIXELS:,} in all. Make it smaller"
        )


def _read_file(path: pathlib.Path) -> bytes:
    try:
        return read_plain_file(path, max_bytes=MAX_FILE_BYTES)
    except (NotPlainFileError, IsADirectoryError) as error:
        raise ImageError(f"{path} is not a plain file; give the path of a picture") from error
    except FileTooLargeError as error:
        raise ImageTooLargeError(f"{error}. Make it smaller") from error
    except FileChangedError as error:
        raise ImageError(f"{error}; read it again when it is whole") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ImageError(f"{path} cannot be read: {reason}") from error


@contextlib.contextmanager
def _typed_errors(name: str) -> Iterator[None]:
    """Whatever Pillow raises on a bad picture becomes an error of ours."""
    try:
        yield
    except ImageError:
        raise
    # A warning is raised where Python was told so, for example with `-W error`.
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooLargeError(
            f"{name} says that it has far more than {MAX_PIXELS:,} pixels, which is the most; "
            "make it smaller"
        ) from error
    except UnidentifiedImageError as error:
        raise ImageFormatError(
            f"{name} is not a picture that can be read; use PNG, JPEG, WebP, BMP, GIF, TIFF or PPM"
        ) from error
    except MemoryError as error:
        raise ImageTooLargeError(
            f"{name} does not fit into the memory that is free. Make it smaller"
        ) from error
    # No list would do: on damaged files Pillow's decoders also raise IndexError, struct.error,
    # AttributeError, KeyError and more, other ones in each version.
    except Exception as error:
        raise ImageFormatError(
            f"{name} is a damaged or closed picture ({type(error).__name__}: {error}). "
            "Open or save it again"
        ) from error


def _decode_bytes(data: bytes, name: str) -> np.ndarray:
    if not data:
        raise ImageFormatError(f"{name} is empty; need a picture")
    with _typed_errors(name), Image.open(io.BytesIO(data), formats=_FORMATS) as opened:
        return _to_rgb(opened, name)


def _to_rgb(image: Image.Image, name: str) -> np.ndarray:
    with _typed_errors(name):
        _check_size(image, name)
        frames = getattr(image, "n_frames", 1)
        # MPO: what phones write, a JPEG with a preview or a depth map behind it.
        if frames > 1 and image.format != "MPO":
            raise ImageFormatError(
                f"{name} has {frames} frames; animations are refused. Save the frame you mean"
            )
        image.load()
        # The header of a container may have promised a smaller picture than there was in it.
        _check_size(image, name)
        upright = ImageOps.exif_transpose(image)
        rgb = _flatten(image if upright is None else upright, name)
        return np.ascontiguousarray(np.asarray(rgb, dtype=np.uint8))


def _check_size(image: Image.Image, name: str) -> None:
    width, height = image.size
    if width < 1 or height < 1:
        raise ImageFormatError(f"{name} has {width} x {height} pixels; it has none to look at")
    _check_pixels(width, height, name)


def _flatten(image: Image.Image, name: str) -> Image.Image:
    """Any mode to RGB."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _from_deep_grey(image, name)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        pixels = image.convert("RGBA")
        white = Image.new("RGBA", pixels.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, pixels).convert("RGB")
    return image.convert("RGB")


def _from_deep_grey(image: Image.Image, name: str) -> Image.Image:
    if image.mode == "F":
        raise ImageFormatError(
            f"{name} has floating-point pixels, of no known range; save it with 8 or 16 bits"
        )
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ImageFormatError(
            f"{name} has 32-bit pixels, of no known range; save it with 8 or 16 bits"
        )
    # 65535 = 255 * 257: exact at both ends.
    grey = ((values + 128) // 257).clip(0, 255).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")
