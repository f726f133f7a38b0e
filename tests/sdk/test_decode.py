"""Pictures of every kind that people have, decoded."""

from __future__ import annotations

import io
import threading
import warnings

import numpy as np
import pytest
from pictures import encoded, picture
from PIL import Image

from tokenfuse_sdk.preprocess import PreprocessConfig, decode_image, preprocess


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


def test_a_still_of_an_animated_format_is_fine():
    assert decode_image(encoded(Image.fromarray(picture()), "GIF")).shape == (12, 20, 3)


def test_the_first_picture_of_a_phones_jpeg_is_taken():
    other = Image.fromarray(picture()[::-1].copy())
    data = encoded(Image.fromarray(picture()), "MPO", save_all=True, append_images=[other])
    with Image.open(io.BytesIO(data)) as opened:
        assert (opened.format, opened.n_frames) == ("MPO", 2)
        opened.load()
        want = np.asarray(opened)
    np.testing.assert_array_equal(decode_image(data), want)


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
