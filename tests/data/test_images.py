"""Images are decoded upright and in 8 bit, or refused with a reason, never with a traceback."""

from __future__ import annotations

import io
import random
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mlpipe.data import images
from mlpipe.data.images import UnreadableImageError

ORIENTATION = 0x0112


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@pytest.fixture
def colour() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_formats_give_the_pixels_back(colour: np.ndarray, kind: str) -> None:
    content = encoded(Image.fromarray(colour), kind)
    assert images.header(content) == (9, 6, 3)
    assert (images.decode(content, 3) == colour).all()


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "GIF", "JPEG2000"])
def test_other_formats_give_nearly_the_pixels_back(kind: str) -> None:
    content = encoded(Image.new("RGB", (9, 6), (200, 100, 50)), kind)
    pixels = images.decode(content, 3)
    assert pixels.shape == (6, 9, 3)
    assert np.abs(pixels.astype(int) - [200, 100, 50]).max() <= 6


def test_grey_and_colour_convert_into_each_other(colour: np.ndarray) -> None:
    grey = colour[:, :, 0]
    content = encoded(Image.fromarray(grey))
    assert images.header(content)[2] == 1
    assert (images.decode(content, 1)[:, :, 0] == grey).all()
    assert (images.decode(content, 3) == grey[:, :, None]).all()
    luma = images.decode(encoded(Image.fromarray(colour)), 1)[:, :, 0]
    assert np.abs(luma - colour @ np.array([0.299, 0.587, 0.114])).max() <= 1


@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        (1, lambda a: a),
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: np.rot90(a, 2)),
        (4, lambda a: a[::-1]),
        (5, lambda a: a.transpose(1, 0, 2)),
        (6, lambda a: np.rot90(a, -1)),
        (7, lambda a: np.rot90(a, 2).transpose(1, 0, 2)),
        (8, lambda a: np.rot90(a, 1)),
    ],
)
def test_exif_orientation(colour: np.ndarray, orientation: int, turn: Any) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    pixels = images.decode(encoded(Image.fromarray(colour), exif=exif), 3)
    assert (pixels == turn(colour)).all()


def test_16_bit_grey_is_scaled() -> None:
    values = np.array([[0, 128, 257, 32768, 65535]], np.uint16)
    content = encoded(Image.fromarray(values))
    assert images.header(content)[2] == 1
    assert images.decode(content, 1)[0, :, 0].tolist() == [0, 0, 1, 128, 255]
    assert images.decode(content, 3)[0, :, 2].tolist() == [0, 0, 1, 128, 255]


def test_16_bit_grey_is_turned_upright_too() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    values = np.arange(6, dtype=np.uint16).reshape(2, 3) * 257
    pixels = images.decode(encoded(Image.fromarray(values), exif=exif), 1)[:, :, 0]
    assert pixels.tolist() == np.rot90(np.arange(6).reshape(2, 3), -1).tolist()


def test_floating_point_tiff() -> None:
    unit = images.decode(encoded(Image.fromarray(np.array([[0, 100.2, 255]], np.float32)), "TIFF"), 1)
    assert unit[0, :, 0].tolist() == [0, 100, 255]
    large = images.decode(encoded(Image.fromarray(np.array([[0, 32768, 65535]], np.float32)), "TIFF"), 1)
    assert large[0, :, 0].tolist() == [0, 128, 255]


def test_palette_and_black_and_white() -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.putdata([0, 1])
    assert images.decode(encoded(palette), 3).tolist() == [[[10, 20, 30], [200, 100, 50]]]
    assert images.header(encoded(palette))[2] == 3
    bits = Image.new("1", (2, 1))
    bits.putdata([0, 255])
    assert images.decode(encoded(bits), 1)[0, :, 0].tolist() == [0, 255]
    assert images.header(encoded(bits))[2] == 1


def test_transparency_is_dropped() -> None:
    content = encoded(Image.new("RGBA", (2, 2), (10, 20, 30, 0)))
    assert (images.decode(content, 3) == [10, 20, 30]).all()
    assert (images.decode(encoded(Image.new("LA", (2, 2), (77, 0))), 1) == 77).all()
    assert images.header(encoded(Image.new("LA", (2, 2), (77, 0))))[2] == 1


def test_cmyk_jpeg() -> None:
    content = encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG")
    pixels = images.decode(content, 3).astype(int)
    assert images.header(content) == (8, 8, 3)
    assert np.abs(pixels - [255, 0, 0]).max() <= 8


def test_the_first_picture_of_an_animation() -> None:
    frames = [Image.new("RGB", (4, 4), shade) for shade in ("red", "blue")]
    content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (images.decode(content, 3) == [255, 0, 0]).all()


def test_several_pictures_in_a_jpeg() -> None:
    frames = [Image.new("RGB", (16, 16), shade) for shade in ("red", "blue")]
    content = encoded(frames[0], "MPO", save_all=True, append_images=frames[1:])
    assert np.abs(images.decode(content, 3).astype(int) - [255, 0, 0]).max() <= 6


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"not an image at all", "not an image in a known format"),
        (b"\x00" * 1000, "not an image in a known format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image in a known format"),
    ],
)
def test_what_is_no_image_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(UnreadableImageError, match=reason):
        images.header(content)
    with pytest.raises(UnreadableImageError, match=reason):
        images.decode(content, 3)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP"])
def test_truncated(kind: str) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    content = encoded(Image.fromarray(noise), kind)
    with pytest.raises(UnreadableImageError):
        images.decode(content[: len(content) // 2], 3)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "GIF", "BMP", "PPM", "JPEG2000"])
@pytest.mark.filterwarnings("ignore")
def test_damaged_bytes_give_pixels_or_a_reason(kind: str, colour: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MOST_PIXELS", 100_000)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    options = {"exif": exif} if kind in ("PNG", "JPEG", "TIFF", "WEBP") else {}
    content = encoded(Image.fromarray(colour), kind, **options)
    draw = random.Random(5)
    refused = 0
    for _ in range(120):
        damaged = bytearray(content)
        for _ in range(draw.randint(1, 4)):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        try:
            pixels = images.decode(bytes(damaged), 3)
            assert pixels.dtype == np.uint8 and pixels.shape[2] == 3
        except UnreadableImageError as error:
            assert str(error)
            refused += 1
    assert refused or kind in ("BMP", "PPM", "GIF")


def test_what_pillow_raises_by_accident_is_a_reason_too(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(Image.new("L", (2, 2)))
    for error in (KeyError("x"), TypeError("x"), Image.DecompressionBombError("x")):
        monkeypatch.setattr(images, "_eight_bit", lambda image, error=error: (_ for _ in ()).throw(error))
        with pytest.raises(UnreadableImageError, match="x"):
            images.decode(content, 1)


def test_oversized(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(Image.new("L", (20, 10)))
    monkeypatch.setattr(images, "MOST_PIXELS", 200)
    assert images.header(content) == (20, 10, 1)
    monkeypatch.setattr(images, "MOST_PIXELS", 199)
    for look in (images.header, lambda it: images.decode(it, 1)):
        with pytest.raises(UnreadableImageError, match="20 x 10 is more than 199 pixels"):
            look(content)


def test_the_limit_is_the_one_that_pillow_keeps_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Image.MAX_IMAGE_PIXELS is not None
    assert images.MOST_PIXELS == 2 * Image.MAX_IMAGE_PIXELS
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    with pytest.raises(UnreadableImageError, match="more than"):
        images.header(encoded(Image.new("L", (20, 10))))
    assert images.header(encoded(Image.new("L", (10, 10)))) == (10, 10, 1)
