"""What is no picture, or one that would take all memory, is refused, and clearly."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import threading
import types
import warnings
import zlib

import numpy as np
import pytest
from pictures import encoded, picture
from PIL import EpsImagePlugin, Image, PngImagePlugin

from tokenfuse_sdk.errors import ImageError, ImageFormatError, ImageTooLargeError
from tokenfuse_sdk.preprocess import decode, decode_image


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png_of(width: int, height: int) -> bytes:
    """A valid PNG header of any size over a few bytes of data."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _png_chunk(b"IHDR", header)
        + _png_chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + _png_chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_animations_and_many_pages_are_refused(format):
    frames = [Image.fromarray(np.full((8, 8, 3), v, np.uint8)) for v in (0, 120, 255)]
    data = encoded(frames[0], format, save_all=True, append_images=frames[1:])
    with pytest.raises(ImageFormatError, match="3 frames"):
        decode_image(data)


def test_floating_point_and_32_bits_are_refused():
    with pytest.raises(ImageFormatError, match="range"):
        decode_image(Image.fromarray(np.ones((4, 4), np.float32)))
    with pytest.raises(ImageFormatError, match="range"):
        decode_image(Image.fromarray(np.full((4, 4), 70_000, np.int32)))


@pytest.mark.parametrize("size", [(100_000, 100_000), (2**31 - 1, 1), (9_000, 9_000), (1, 2**30)])
def test_decompression_bombs_are_refused_unopened(size):
    with pytest.raises(ImageTooLargeError, match="pixels"):
        decode_image(_png_of(*size))


def test_a_bomb_is_refused_whatever_pillow_was_told(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(ImageTooLargeError):
        decode_image(_png_of(50_000, 50_000))


def test_files_that_are_too_large(tmp_path):
    path = tmp_path / "big.png"
    path.touch()
    os.truncate(path, 1 << 40)
    with pytest.raises(ImageTooLargeError, match="bytes"):
        decode_image(path)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff\xe0" + b"\0" * 50,
        b"%PDF-1.4",
        b"<svg/>",
        b"\0" * 10_000,
    ],
)
def test_what_is_no_picture_is_refused(data):
    with pytest.raises(ImageFormatError):
        decode_image(data)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF", "ignore:Truncated File", "ignore:.*MPO file")
@pytest.mark.parametrize("format", ["PNG", "JPEG", "MPO", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_a_file_cut_anywhere_is_refused_or_read_but_never_crashes(format):
    image = Image.fromarray(picture(16, 12))
    options = {"save_all": True, "append_images": [image]} if format == "MPO" else {}
    data = encoded(image, format, **options)
    for length in range(len(data)):
        with contextlib.suppress(ImageFormatError):
            assert decode_image(data[:length]).shape == (12, 16, 3)
    # The header tells the size: a file with its last byte changed has it too.
    for last in range(0, 256, 5):
        with contextlib.suppress(ImageFormatError):
            assert decode_image(data[:-1] + bytes([last])).shape == (12, 16, 3)


@pytest.mark.parametrize("format", ["EPS", "ICO", "ICNS", "TGA", "PCX", "SGI", "DDS"])
def test_other_formats_that_pillow_knows_are_refused(format, monkeypatch):
    def run(*arguments: object, **options: object) -> None:
        pytest.fail("Ghostscript was to run")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", run)
    data = encoded(Image.fromarray(picture(32, 32)), format)
    with pytest.raises(ImageFormatError, match="use PNG, JPEG, WebP, BMP, GIF, TIFF or PPM"):
        decode_image(data)


def test_a_picture_larger_than_its_header_said_is_refused(monkeypatch):
    inner = Image.fromarray(picture(200, 200))
    original = PngImagePlugin.PngImageFile.load

    def load(self):
        """As for a container whose inner picture takes the place of what its header said."""
        original(self)
        self.im, self._size = inner.im, inner.size
        return Image.Image.load(self)

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", load)
    monkeypatch.setattr(decode, "MAX_PIXELS", 20_000)
    with pytest.raises(ImageTooLargeError, match="200 x 200"):
        decode_image(encoded(Image.fromarray(picture(128, 128)), "PNG"))


def test_a_gif_that_ends_in_an_extension():
    data = encoded(Image.fromarray(picture()), "GIF")
    assert data.endswith(b";")
    with pytest.raises(ImageFormatError, match="damaged"):
        decode_image(data[:-1] + b"!")


@pytest.mark.parametrize("format", ["GIF", "PNG", "TIFF", "WEBP"])
def test_a_closed_picture_is_refused(format):
    image = Image.open(io.BytesIO(encoded(Image.fromarray(picture()), format)))
    image.close()
    with pytest.raises(ImageFormatError, match="closed"):
        decode_image(image)


def test_exif_data_that_are_damaged():
    data = encoded(Image.fromarray(picture()), "PNG")
    end = data.index(b"IDAT") - 4
    with pytest.raises(ImageFormatError, match="damaged"):
        decode_image(data[:end] + _png_chunk(b"eXIf", b"II*\0") + data[end:])


@pytest.mark.parametrize("where", ["open", "load"])
def test_too_little_memory_is_told_as_such(where, monkeypatch):
    def fail(*arguments: object, **options: object) -> None:
        raise MemoryError

    data = encoded(Image.fromarray(picture()), "PNG")
    target = Image if where == "open" else PngImagePlugin.PngImageFile
    monkeypatch.setattr(target, where, fail)
    with pytest.raises(ImageTooLargeError, match="memory") as caught:
        decode_image(data)
    assert "damaged" not in str(caught.value)


def test_a_bomb_is_refused_where_warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageTooLargeError, match="pixels"):
            decode_image(_png_of(10_000, 10_000))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_that_takes_the_files_place_does_not_block(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(encoded(Image.fromarray(picture()), "PNG"))
    found: list[str] = []

    def swapping(module: types.ModuleType) -> None:
        """The pipe takes its place at the last moment before `module` opens it."""
        module_open = module.open

        def opened(file, *arguments, **options):
            if str(file) == str(path) and path.is_file():
                path.unlink()
                os.mkfifo(path)
            return module_open(file, *arguments, **options)

        monkeypatch.setattr(module, "open", opened)

    def work() -> None:
        try:
            decode_image(path)
        except ImageError as error:
            found.append(str(error))

    swapping(os)
    swapping(io)
    # On a thread that nobody waits for: it would wait for a writer, who never comes.
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(30)
    assert len(found) == 1
    assert "not a plain file" in found[0]


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(ImageError, match="cannot be read"):
        decode_image(tmp_path / "none.png")
    with pytest.raises(ImageError, match="plain file"):
        decode_image(tmp_path)
    with pytest.raises(ImageError):
        decode_image("a\0b.png")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ImageError, match="plain file"):
        decode_image(tmp_path / "pipe")


@pytest.mark.parametrize(
    ("array", "match"),
    [
        (np.zeros((4, 4, 3), np.float32), "uint8"),
        (np.zeros((4, 4, 3), np.int64), "uint8"),
        (np.zeros((4, 4), np.uint8), "grey"),
        (np.zeros((3, 4, 4), np.uint8), "channels last"),
        (np.zeros((4, 4, 4), np.uint8), "alpha"),
        (np.zeros((1, 4, 4, 3), np.uint8), "H, W, 3"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
        (np.zeros((), np.uint8), "H, W, 3"),
    ],
)
def test_wrong_arrays_are_refused(array, match):
    with pytest.raises(ImageFormatError, match=match):
        decode_image(array)


@pytest.mark.parametrize("source", [None, 7, 3.5, [1, 2], {"a": 1}])
def test_wrong_types_are_refused(source):
    with pytest.raises(ImageFormatError, match="need a path"):
        decode_image(source)
