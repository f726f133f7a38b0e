"""Pictures of every kind that people have: supported where expected, refused clearly where not."""

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
from PIL import EpsImagePlugin, Image, PngImagePlugin

from tokenfuse_sdk.errors import ConfigError, ImageError, ImageFormatError, ImageTooLargeError
from tokenfuse_sdk.preprocess import (
    PreprocessConfig,
    decode,
    decode_image,
    fit_image,
    preprocess,
)


def picture(width: int = 20, height: int = 12) -> np.ndarray:
    """Smooth, so that JPEG keeps it; different in all corners."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, 255 - x * 255 // width], -1).astype(
        np.uint8
    )


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "WEBP", "JPEG", "PPM", "GIF"])
def test_formats(format):
    array = picture()
    options = {"lossless": True} if format == "WEBP" else {}
    if format == "JPEG":
        options = {"quality": 100, "subsampling": 0}
    got = decode_image(encoded(Image.fromarray(array), format, **options))
    assert got.dtype == np.uint8
    assert got.flags.c_contiguous
    # GIF has 256 colours; JPEG rounds.
    tolerance = {"JPEG": 4, "GIF": 40}.get(format, 0)
    assert np.abs(got.astype(int) - array).max() <= tolerance


def test_every_way_to_give_a_picture_is_the_same(tmp_path):
    array = picture()
    path = tmp_path / "a.png"
    data = encoded(Image.fromarray(array), "PNG")
    path.write_bytes(data)
    for source in (
        path,
        str(path),
        data,
        bytearray(data),
        memoryview(data),
        array,
        Image.fromarray(array),
        Image.open(path),
    ):
        np.testing.assert_array_equal(decode_image(source), array)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(orientation):
    array = picture()
    turned = {
        1: array,
        2: array[:, ::-1],
        3: array[::-1, ::-1],
        4: array[::-1],
        5: array.transpose(1, 0, 2),
        6: np.rot90(array, 1),
        7: np.rot90(array, 2).transpose(1, 0, 2),
        8: np.rot90(array, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(np.ascontiguousarray(turned)), "PNG", exif=exif)
    np.testing.assert_array_equal(decode_image(data), array)


def test_greyscale_palette_and_one_bit():
    grey = picture()[..., 0]
    np.testing.assert_array_equal(
        decode_image(encoded(Image.fromarray(grey), "PNG")), np.repeat(grey[..., None], 3, 2)
    )
    palette = Image.fromarray(picture()).convert("P", palette=Image.Palette.ADAPTIVE, colors=16)
    np.testing.assert_array_equal(
        decode_image(encoded(palette, "PNG")), np.asarray(palette.convert("RGB"))
    )
    bits = decode_image(encoded(Image.fromarray(grey).convert("1"), "PNG"))
    assert set(np.unique(bits)) == {0, 255}


def test_transparency_lies_over_white():
    rgba = np.dstack([picture(), np.full((12, 20), 255, np.uint8)])
    rgba[:6, :, 3] = 0
    rgba[6, 0] = (0, 0, 0, 128)
    got = decode_image(encoded(Image.fromarray(rgba), "PNG"))
    assert (got[:6] == 255).all()
    np.testing.assert_array_equal(got[7:], picture()[7:])
    assert abs(int(got[6, 0, 0]) - 127) <= 1
    grey = Image.fromarray(picture()[..., 0])
    grey.putalpha(0)
    assert (decode_image(encoded(grey, "PNG")) == 255).all()
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([10, 20, 30, 40, 50, 60])
    assert (decode_image(encoded(palette, "PNG", transparency=1)) == 255).all()


def test_sixteen_bits_are_scaled():
    deep = np.linspace(0, 65535, 240).reshape(12, 20).astype(np.uint16)
    got = decode_image(encoded(Image.fromarray(deep), "PNG"))
    np.testing.assert_array_equal(got[..., 0], np.round(deep / 257))
    np.testing.assert_array_equal(decode_image(Image.fromarray(deep)), got)


def test_cmyk_becomes_rgb():
    image = Image.fromarray(picture()).convert("CMYK")
    got = decode_image(encoded(image, "TIFF"))
    np.testing.assert_array_equal(got, np.asarray(image.convert("RGB")))
    assert decode_image(encoded(image, "JPEG")).shape == (12, 20, 3)


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_animations_and_many_pages_are_refused(format):
    frames = [Image.fromarray(np.full((8, 8, 3), v, np.uint8)) for v in (0, 120, 255)]
    data = encoded(frames[0], format, save_all=True, append_images=frames[1:])
    with pytest.raises(ImageFormatError, match="3 frames"):
        decode_image(data)


def test_a_still_of_an_animated_format_is_fine():
    assert decode_image(encoded(Image.fromarray(picture()), "GIF")).shape == (12, 20, 3)


def test_floating_point_and_32_bits_are_refused():
    with pytest.raises(ImageFormatError, match="range"):
        decode_image(Image.fromarray(np.ones((4, 4), np.float32)))
    with pytest.raises(ImageFormatError, match="range"):
        decode_image(Image.fromarray(np.full((4, 4), 70_000, np.int32)))


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


def test_the_first_picture_of_a_phones_jpeg_is_taken():
    other = Image.fromarray(picture()[::-1].copy())
    data = encoded(Image.fromarray(picture()), "MPO", save_all=True, append_images=[other])
    with Image.open(io.BytesIO(data)) as opened:
        assert (opened.format, opened.n_frames) == ("MPO", 2)
        opened.load()
        want = np.asarray(opened)
    np.testing.assert_array_equal(decode_image(data), want)


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


def test_many_threads_decode_and_the_warning_filters_stay(monkeypatch):
    data = encoded(Image.fromarray(picture()), "PNG")
    before = list(warnings.filters)
    seen: list[bool] = []
    image_open = Image.open

    def watched(*arguments: object, **options: object) -> Image.Image:
        seen.append(list(warnings.filters) == before)
        return image_open(*arguments, **options)

    def work() -> None:
        for _ in range(20):
            np.testing.assert_array_equal(decode_image(data), picture())

    monkeypatch.setattr(Image, "open", watched)
    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [True] * 160
    assert list(warnings.filters) == before


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


def test_the_argument_is_not_changed():
    array = picture()
    before = array.copy()
    flipped = array[:, ::-1]
    np.testing.assert_array_equal(decode_image(flipped), flipped)
    preprocess(decode_image(array), PreprocessConfig(image_size=8))
    np.testing.assert_array_equal(array, before)
    image = Image.fromarray(array)
    decode_image(image)
    assert image.size == (20, 12)


def test_a_square_of_the_right_size_is_only_scaled():
    array = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    config = PreprocessConfig(image_size=64)
    np.testing.assert_array_equal(fit_image(array, config), array)
    np.testing.assert_allclose(preprocess(array, config), array / 127.5 - 1.0, atol=1e-6)


def test_mean_and_deviation_per_channel():
    config = PreprocessConfig(
        image_size=2, image_mean=(0.485, 0.456, 0.406), image_std=(0.229, 0.224, 0.225)
    )
    array = np.arange(12, dtype=np.uint8).reshape(2, 2, 3) * 20
    want = (array / 255 - np.array(config.image_mean)) / np.array(config.image_std)
    got = preprocess(array, config)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_padding_keeps_proportions_in_the_colour_of_the_border():
    array = np.full((10, 30, 3), 40, np.uint8)
    array[3:7, 10:20] = 200
    fitted = fit_image(array, PreprocessConfig(image_size=30))
    assert fitted.shape == (30, 30, 3)
    assert (fitted[:10] == 40).all()
    np.testing.assert_array_equal(fitted[10:20], array)
    stretched = fit_image(array, PreprocessConfig(image_size=30, fit="stretch"))
    assert stretched[15, 15, 0] == 200
    assert stretched[10, 15, 0] > 100


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (3, 64), (4097, 2)])
def test_extreme_proportions(shape):
    array = np.full((*shape, 3), 77, np.uint8)
    for fit in ("pad", "stretch"):
        fitted = fit_image(array, PreprocessConfig(image_size=16, fit=fit))
        assert fitted.shape == (16, 16, 3)
        assert (fitted == 77).all()


@pytest.mark.parametrize(
    "values",
    [
        {"image_size": 0},
        {"image_size": True},
        {"image_size": 8.0},
        {"image_size": 8, "fit": "x"},
        {"image_size": 8, "image_std": (0.0, 1.0, 1.0)},
        {"image_size": 8, "image_mean": (1.0,)},
        {"image_size": 8, "image_mean": (float("nan"), 0.0, 0.0)},
        {"image_size": 8, "image_mean": (0.5, -1001.0, 0.5)},
        {"image_size": 8, "image_mean": (1e300, 0.5, 0.5)},
        {"image_size": 8, "image_std": (0.5, 0.5, 1e-300)},
        {"image_size": 8, "image_std": (0.5, 0.5, 0.0009)},
        {"image_size": 8, "image_std": (1001.0, 0.5, 0.5)},
        {"image_size": 8, "image_std": (-0.5, 0.5, 0.5)},
    ],
)
def test_configs_that_make_no_sense(values):
    with pytest.raises(ConfigError):
        PreprocessConfig(**values)


@pytest.mark.parametrize("mean", [-1e3, 0.0, 1e3])
@pytest.mark.parametrize("std", [1e-3, 1e3])
def test_every_config_makes_finite_pixels(mean, std):
    config = PreprocessConfig(image_size=12, image_mean=(mean,) * 3, image_std=(std,) * 3)
    got = preprocess(picture(12, 12), config)
    # A product and a sum in float32, of terms of at most 1 / std and |mean| / std.
    bound = 4 * np.finfo(np.float32).eps * (1 + abs(mean)) / std
    assert np.abs(got - (picture(12, 12) / 255 - mean) / std).max() <= bound
