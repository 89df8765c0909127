"""Images are decoded upright, in 8 or 16 bit, or refused with a reason, never with a traceback."""

from __future__ import annotations

import io
import os
import random
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from mlpipe import limits
from mlpipe.data.decoding import file_values, images, transparency
from mlpipe.data.decoding.images import UnreadableImageError
from mlpipe.data.decoding.value_rules import Decoding

ORIENTATION = 0x0112


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@pytest.fixture
def colour() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


def smooth(height: int, width: int) -> np.ndarray:
    """A picture as a camera gives it: JPEG keeps it nearly as it is."""
    down, across = np.mgrid[0:height, 0:width]
    waves = [128 + 60 * np.sin(across / 9), 128 + 60 * np.cos(down / 7), 128 + 50 * np.sin((down + across) / 11)]
    return np.stack(waves, axis=2).astype(np.uint8)


def by_pillow(content: bytes, mode: str) -> np.ndarray:
    """What Pillow alone makes of it."""
    return np.asarray(Image.open(io.BytesIO(content)).convert(mode)).astype(int)


def by_hand(values: np.ndarray, orientation: int = 1, dtype: str = "<u2") -> bytes:
    """An uncompressed TIFF of shape (height, width, bands), its directory before its pixels."""
    height, width, bands = values.shape
    pixels, entries = values.astype(dtype).tobytes(), 10
    bits_at = 8 + 2 + 12 * entries + 4
    bits = struct.pack(f"<{bands}H", *[8 * np.dtype(dtype).itemsize] * bands)
    short, long = 3, 4
    directory = [
        (256, long, 1, width),
        (257, long, 1, height),
        (258, short, bands, bits_at),
        (259, short, 1, 1),
        (262, short, 1, 2),
        (273, long, 1, bits_at + len(bits)),
        (274, short, 1, orientation),
        (277, short, 1, bands),
        (278, long, 1, height),
        (279, long, 1, len(pixels)),
    ]
    packed = b"".join(struct.pack("<HHII", *entry) for entry in directory)
    return b"II*\0" + struct.pack("<IH", 8, entries) + packed + struct.pack("<I", 0) + bits + pixels


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


TURNS: dict[int, Any] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: np.rot90(a, 2),
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_orientation_of_lossless_files(colour: np.ndarray, kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    pixels = images.decode(encoded(Image.fromarray(colour), kind, exif=exif), 3)
    assert (pixels == TURNS[orientation](colour)).all()


@pytest.mark.parametrize("orientation", TURNS)
def test_orientation_of_jpeg(orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    picture = Image.fromarray(smooth(40, 56))
    upright = images.decode(encoded(picture, "JPEG"), 3)
    turned = encoded(picture, "JPEG", exif=exif)
    assert images.look(turned).decoder == "simplejpeg"
    assert (images.decode(turned, 3) == TURNS[orientation](upright)).all()


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("bits", [8, 16])
def test_orientation_of_16_bit_colour(orientation: int, bits: Any) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (4, 6, 3)).astype(np.uint16)
    pixels = images.decode(by_hand(values, orientation), 3, bits)
    wanted = TURNS[orientation](values) / (1 if bits == 16 else 257)
    assert pixels.shape == wanted.shape and np.abs(pixels - wanted).max() <= (0 if bits == 16 else 1)


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


KINDS = {"<f4": 3, ">f4": 3, "<f8": 3, ">f8": 3, "<i1": 2, "<i2": 2, ">i2": 2, "<i4": 2, ">i4": 2, "<u4": 1, ">u4": 1}


def tiff_of(values: np.ndarray, orientation: int = 1, white: int = 1, bits: int | None = None) -> bytes:
    """An uncompressed TIFF of shape (height, width, bands) of the values' own type and byte order, written by hand."""
    height, width, bands = values.shape
    order = ">" if values.dtype.byteorder == ">" else "<"
    kind = {"f": 3, "i": 2, "u": 1}[values.dtype.kind]
    depth, short, long = bits or 8 * values.dtype.itemsize, 3, 4
    bits_at = 8 + 2 + 12 * 11 + 4
    kinds_at, pixels_at = bits_at + 2 * bands, bits_at + 4 * bands
    entries = [
        (256, long, 1, width), (257, long, 1, height), (258, short, bands, bits_at if bands > 2 else depth),
        (259, short, 1, 1), (262, short, 1, white if bands == 1 else 2), (273, long, 1, pixels_at),
        (274, short, 1, orientation), (277, short, 1, bands), (278, long, 1, height), (279, long, 1, values.nbytes),
        (339, short, bands, kinds_at if bands > 2 else kind),
    ]  # fmt: skip
    packed = b""
    for tag, form, count, value in entries:
        is_short = form == short and count <= 2
        packed += struct.pack(f"{order}HHI", tag, form, count)
        packed += struct.pack(f"{order}HH", value, 0) if is_short else struct.pack(f"{order}I", value)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(entries))
    lists = struct.pack(f"{order}{2 * bands}H", *[depth] * bands, *[kind] * bands)
    return head + packed + struct.pack(f"{order}I", 0) + lists + values.tobytes()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bands", [1, 3])
def test_numbers_of_an_open_range_become_pixels_by_the_range_of_the_task(kind: str, bands: int) -> None:
    low, high = (-100, 100) if kind[1] != "u" else (0, 3_000_000_000)
    shares = np.random.default_rng(0).random((4, 6, bands))
    values = (low + shares * (high - low)).astype(kind)
    content = tiff_of(values)
    assert images.look(content).open_range and images.look(content).channels == bands
    with pytest.raises(UnreadableImageError, match=r"task\.value_range"):
        images.decode(content, bands)
    wanted = (values.astype(float) - low) / (high - low)
    for bits, most in ((16, 65535), (8, 255)):
        pixels = images.decode(content, bands, bits, how=Decoding((low, high)))  # type: ignore[arg-type]
        assert np.abs(pixels - wanted * most).max() <= 0.51
    assert images.extent(content) == (float(values.min()), float(values.max()))


def test_the_range_is_the_same_for_every_image_of_a_task() -> None:
    dark, bright = np.full((2, 2, 1), 100, "<f4"), np.full((2, 2, 1), 200, "<f4")
    how = Decoding((0, 400))
    assert (images.decode(tiff_of(dark), 1, 16, how=how) == 16384).all()
    assert (images.decode(tiff_of(bright), 1, 16, how=how) == 32768).all()
    grey, deep = encoded(Image.new("L", (2, 2), 100)), encoded(Image.fromarray(np.full((2, 2), 100, np.uint16)))
    assert (images.decode(grey, 3, 16, how=how) == 16384).all() and (images.decode(deep, 1, 16, how=how) == 16384).all()


def test_numbers_outside_of_the_range_are_named() -> None:
    content = tiff_of(np.array([[[-3.0], [300.0]]], "<f4"))
    with pytest.raises(UnreadableImageError, match=r"values from -3 to 300, outside task\.value_range \[0, 255\]"):
        images.decode(content, 1, how=Decoding((0, 255)))
    broken = tiff_of(np.array([[[np.nan], [3.0]]], "<f4"))
    with pytest.raises(UnreadableImageError, match="no numbers"):
        images.decode(broken, 1, how=Decoding((0, 255)))
    assert all(np.isnan(images.extent(broken)))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["<f4", "<f8", "<i2", "<u4"])
def test_numbers_of_an_open_range_are_upright(kind: str, orientation: int) -> None:
    values = np.arange(24).reshape(4, 6, 1).astype(kind)
    pixels = images.decode(tiff_of(values, orientation), 1, 16, how=Decoding((0, 65535)))
    seen = images.look(tiff_of(values, orientation))
    assert (pixels == TURNS[orientation](values)).all() and (seen.height, seen.width) == pixels.shape[:2]


@pytest.mark.parametrize(("bits", "most"), [(8, 255), (16, 65535)])
def test_greys_whose_zero_is_white(bits: int, most: int) -> None:
    values = np.array([[[0], [5], [most]]], f"<u{bits // 8}")
    assert images.decode(tiff_of(values, white=0), 1, bits).ravel().tolist() == [most, most - 5, 0]  # type: ignore[arg-type]


def test_12_bit_greys_span_the_whole_range() -> None:
    # 0, 5 and 4095, 2048 in 12 bits each.
    packed = np.frombuffer(bytes([0x00, 0x00, 0x05, 0xFF, 0xF8, 0x00]), np.uint8).reshape(1, 6, 1)
    content = bytearray(tiff_of(packed, bits=12))
    content[8 + 2 + 8 : 8 + 2 + 12] = struct.pack("<I", 4)
    assert images.decode(bytes(content), 1, 16).ravel().tolist() == [0, 80, 65535, 32776]


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0", "4:1:1"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("shape", [(67, 101), (8, 8), (1, 1), (17, 3)])
def test_jpeg_is_what_pillow_makes_of_it(subsampling: str, progressive: bool, shape: tuple[int, int]) -> None:
    picture = Image.fromarray(smooth(*shape))
    content = encoded(picture, "JPEG", quality=90, subsampling=subsampling, progressive=progressive)
    assert images.look(content).decoder == "simplejpeg"
    assert np.abs(images.decode(content, 3) - by_pillow(content, "RGB")).max() <= 1
    assert np.abs(images.decode(content, 1)[:, :, 0] - by_pillow(content, "L")).max() <= 2
    grey = encoded(picture.convert("L"), "JPEG", progressive=progressive)
    assert images.look(grey).decoder == "simplejpeg" and images.look(grey).channels == 1
    assert np.abs(images.decode(grey, 1)[:, :, 0] - by_pillow(grey, "L")).max() <= 1
    assert (images.decode(grey, 3) == images.decode(grey, 1)).all()


def test_jpeg_that_stores_red_green_and_blue() -> None:
    content = encoded(Image.fromarray(smooth(40, 30)), "JPEG", keep_rgb=True)
    assert np.abs(images.decode(content, 3) - by_pillow(content, "RGB")).max() <= 1
    assert np.abs(images.decode(content, 1)[:, :, 0] - by_pillow(content, "L")).max() <= 1


def test_jpeg_with_transparency_asked_for_is_opaque() -> None:
    content = encoded(Image.fromarray(smooth(9, 9)), "JPEG")
    assert (images.decode(content, 4) == np.dstack([images.decode(content, 3), np.full((9, 9), 255)])).all()


@pytest.mark.parametrize("bands", [1, 3, 4])
def test_16_bit_png_keeps_its_values(bands: int) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (5, 7, bands)).astype(np.uint16)
    stored = values if bands == 1 else values[:, :, [2, 1, 0, *range(3, bands)]]
    content = cv2.imencode(".png", stored)[1].tobytes()
    seen = images.look(content)
    assert (seen.width, seen.height, seen.channels, seen.bits) == (7, 5, bands, 16)
    assert (images.decode(content, bands, 16) == values).all()
    assert np.abs(images.decode(content, bands, 8) - values / 257).max() <= 1
    opaque = images.decode(content, 4, 16)[:, :, 3]
    assert (opaque == (values[:, :, 3] if bands == 4 else 65535)).all()


@pytest.mark.parametrize("compression", [1, 5, 8])
def test_16_bit_tiff_keeps_its_values(compression: int) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (5, 7, 3)).astype(np.uint16)
    options = [cv2.IMWRITE_TIFF_COMPRESSION, compression]
    colour = cv2.imencode(".tiff", values[:, :, ::-1], options)[1].tobytes()
    assert images.look(colour).bits == 16 and (images.decode(colour, 3, 16) == values).all()
    grey = cv2.imencode(".tiff", values[:, :, 0], options)[1].tobytes()
    assert images.look(grey).bits == 16 and (images.decode(grey, 1, 16)[:, :, 0] == values[:, :, 0]).all()


def test_8_bit_files_asked_for_in_16_bit_span_the_whole_range(colour: np.ndarray) -> None:
    for kind in ("PNG", "TIFF", "BMP"):
        pixels = images.decode(encoded(Image.fromarray(colour), kind), 3, 16)
        assert pixels.dtype == np.uint16 and (pixels == colour.astype(int) * 257).all()


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


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, bits: int, kind: int, row: bytes, extra: bytes = b"") -> bytes:
    """A PNG of one row, written by hand."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, bits, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + extra + chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")


def over(colour: float, opacity: float, behind: float) -> float:
    """Porter and Duff's `over`, by hand."""
    return colour * opacity + behind * (1 - opacity)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize(("background", "behind"), [("white", 255), ("black", 0)])
def test_transparent_places_are_laid_over_the_background(mode: str, kind: str, background: Any, behind: int) -> None:
    rng = np.random.default_rng(0)
    bands = rng.integers(0, 256, (5, 7, len(mode)), dtype=np.uint8)
    bands[0, :, -1], bands[1, :, -1] = 0, 255
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    content = encoded(Image.fromarray(bands, mode), kind, **options)
    how = Decoding(background=background)
    opacity = bands[:, :, -1:] / 255
    wanted = np.broadcast_to(over(bands[:, :, :-1].astype(float), opacity, behind), (5, 7, 3))
    assert images.is_transparent(content)
    assert np.abs(images.decode(content, 3, how=how) - wanted).max() <= 0.51
    assert np.abs(images.decode(content, 3, 16, how=how) - wanted * 257).max() <= 0.51 * 257
    grey = wanted @ np.array([0.299, 0.587, 0.114])
    assert np.abs(images.decode(content, 1, how=how)[:, :, 0] - grey).max() <= 1.5
    kept = images.decode(content, 4, how=how)
    assert (kept[:, :, 3] == bands[:, :, -1]).all()
    assert (kept[:, :, :3] == bands[:, :, :-1])[bands[:, :, -1] > 0].all()


def test_transparent_red_is_the_background() -> None:
    content = encoded(Image.new("RGBA", (2, 2), (200, 0, 0, 0)))
    assert (images.decode(content, 3) == 255).all() and (images.decode(content, 1) == 255).all()
    assert (images.decode(content, 3, how=Decoding(background="black")) == 0).all()


def test_an_opaque_fourth_channel_changes_nothing(colour: np.ndarray) -> None:
    opaque = encoded(Image.fromarray(np.dstack([colour, np.full((6, 9), 255, np.uint8)])))
    assert not images.is_transparent(opaque)
    for channels in (1, 3):
        assert (images.decode(opaque, channels) == images.decode(encoded(Image.fromarray(colour)), channels)).all()


@pytest.mark.parametrize("bits", [8, 16])
def test_16_bit_colour_is_laid_over_the_background_in_16_bit(bits: Any) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (5, 7, 4)).astype(np.uint16)
    content = cv2.imencode(".png", values[:, :, [2, 1, 0, 3]])[1].tobytes()
    wanted = over(values[:, :, :3].astype(float), values[:, :, 3:] / 65535, 65535)
    pixels = images.decode(content, 3, bits).astype(float) * (1 if bits == 16 else 257)
    assert np.abs(pixels - wanted).max() <= (0.51 if bits == 16 else 1.6 * 257)


def test_16_bit_grey_with_opacity_is_grey_of_16_bit() -> None:
    content = png(3, 16, 4, struct.pack(">6H", 1000, 30000, 50000, 65535, 7, 0))
    seen = images.look(content)
    assert (seen.channels, seen.bits) == (1, 16) and images.is_transparent(content)
    wanted = [over(1000, 30000 / 65535, 65535), 50000, 65535]
    assert np.abs(images.decode(content, 1, 16).ravel() - wanted).max() <= 0.5
    assert np.abs(images.decode(content, 3, 16) - np.array(wanted)[None, :, None]).max() <= 0.5
    assert np.abs(images.decode(content, 1, 8).ravel() - np.array(wanted) / 257).max() <= 0.51
    assert images.decode(content, 4, 16)[0].tolist() == [[1000] * 3 + [30000], [50000] * 3 + [65535], [7] * 3 + [0]]


@pytest.mark.parametrize(
    ("bits", "kind", "row", "key", "shown"),
    [
        (1, 0, b"\x40", struct.pack(">H", 0), [255, 255]),
        (2, 0, b"\x1b", struct.pack(">H", 1), [0, 255, 170, 255]),
        (4, 0, b"\x12", struct.pack(">H", 2), [17, 255]),
        (8, 0, bytes([10, 20]), struct.pack(">H", 10), [255, 20]),
        (16, 0, struct.pack(">2H", 514, 1028), struct.pack(">H", 514), [255, 4]),
        (8, 2, bytes([9, 9, 9, 10, 10, 10]), struct.pack(">3H", 9, 9, 9), [255, 10]),
        (16, 2, struct.pack(">6H", *[514] * 3, *[1028] * 3), struct.pack(">3H", *[514] * 3), [255, 4]),
    ],
)
def test_a_transparent_colour_is_the_background(bits: int, kind: int, row: bytes, key: bytes, shown: list[int]) -> None:
    content = png(len(shown), bits, kind, row, chunk(b"tRNS", key))
    assert images.is_transparent(content)
    assert images.decode(content, 1).ravel().tolist() == shown
    assert images.decode(content, 3)[:, :, 1].ravel().tolist() == shown
    opacity = images.decode(content, 4)[:, :, 3].ravel()
    assert sorted(opacity.tolist()) == [0] + [255] * (len(shown) - 1)


def test_a_palette_of_greys_is_grey(colour: np.ndarray) -> None:
    greys = Image.fromarray(colour[:, :, 0]).convert("P")
    for kind in ("PNG", "TIFF", "BMP", "GIF"):
        content = encoded(greys, kind)
        assert images.look(content).channels == 1, kind
        assert (images.decode(content, 1)[:, :, 0] == colour[:, :, 0]).all()
        assert (images.decode(content, 3) == colour[:, :, :1]).all()
    for kind in ("PNG", "TIFF", "BMP", "GIF"):
        tinted = Image.new("P", (2, 1))
        tinted.putpalette([10, 10, 10, 200, 100, 50])
        tinted.putdata([0, 1])
        assert images.look(encoded(tinted, kind)).channels == 3, kind


def test_a_palette_with_opacity() -> None:
    palette = chunk(b"PLTE", bytes([200, 0, 0, 0, 100, 0])) + chunk(b"tRNS", bytes([0, 51]))
    content = png(2, 8, 3, bytes([0, 1]), palette)
    assert images.is_transparent(content)
    assert images.decode(content, 3).tolist() == [[[255, 255, 255], [204, 224, 204]]]
    assert images.decode(content, 4).tolist() == [[[200, 0, 0, 0], [0, 100, 0, 51]]]


@pytest.mark.parametrize(("bits", "row", "numbers"), [
    (1, b"\x40", [0, 1]), (2, b"\x1b", [0, 1, 2, 3]), (4, b"\x12", [1, 2]), (8, bytes([0, 1, 255]), [0, 1, 255]),
    (16, struct.pack(">3H", 0, 1, 700), [0, 1, 700]),
])  # fmt: skip
def test_masks_keep_the_numbers_in_the_file(bits: int, row: bytes, numbers: list[int]) -> None:
    width = len(numbers)
    assert images.stored_values(png(width, bits, 0, row)).tolist() == [numbers]
    if bits < 16:
        colours = chunk(b"PLTE", bytes(range(3 * 2 ** min(bits, 6))))
        assert images.stored_values(png(width, bits, 3, row, colours)).tolist() == [numbers]
        content = bytearray(tiff_of(np.frombuffer(row, np.uint8).reshape(1, -1, 1), bits=bits))
        content[8 + 2 + 8 : 8 + 2 + 12] = struct.pack("<I", width)
        assert images.stored_values(bytes(content)).tolist() == [numbers]
    deep = png(width, 16, 4, struct.pack(f">{2 * width}H", *[one for number in numbers for one in (number, 65535)]))
    assert images.stored_values(deep).tolist() == [numbers]


@pytest.mark.parametrize("most", [2, 15, 255, 1000])
def test_masks_of_pgm_keep_their_numbers(most: int) -> None:
    numbers = [0, 1, 2, min(most, 14)]
    packed = bytes(numbers) if most < 256 else struct.pack(">4H", *numbers)
    assert images.stored_values(b"P5\n4 1\n%d\n" % most + packed).tolist() == [numbers]
    plain = " ".join(map(str, numbers)).encode()
    assert images.stored_values(b"P2\n4 1\n%d\n%s\n" % (most, plain)).tolist() == [numbers]


@pytest.mark.parametrize("kind", ["<f4", "<f8", "<i2", "<i4", "<u4"])
def test_masks_of_other_types_are_whole_numbers(kind: str) -> None:
    values = np.array([[[0], [1], [70]]], kind)
    found = images.stored_values(tiff_of(values))
    assert found.tolist() == [[0, 1, 70]] and found.dtype.kind in "iu"
    if kind[1] == "f":
        with pytest.raises(UnreadableImageError, match="no whole numbers"):
            images.stored_values(tiff_of(values + np.array(0.5, kind)))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("mode", ["L", "P", "1", "I;16"])
def test_masks_turn_as_their_images_do(orientation: int, kind: str, mode: str) -> None:
    numbers = np.arange(6).reshape(2, 3) % (2 if mode == "1" else 6)
    mask = Image.fromarray(
        (numbers * 255 if mode == "1" else numbers).astype(np.uint16 if mode == "I;16" else np.uint8)
    )
    mask = mask if mode == "I;16" else mask.convert(mode)
    if mode == "P":
        mask.putpalette([value for number in range(256) for value in (number, 255 - number, 7)])
    tag = Image.Exif()
    tag[ORIENTATION] = orientation
    found = images.stored_values(encoded(mask, kind, exif=tag))
    assert (found == TURNS[orientation](numbers[:, :, None])[:, :, 0]).all()


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


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "WEBP", "PPM", "JPEG2000"])
@pytest.mark.parametrize("kept", [0.5, 0.9, 0.98])
def test_truncated(kind: str, kept: float) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    content = encoded(Image.fromarray(noise), kind)
    with pytest.raises(UnreadableImageError):
        images.decode(content[: int(len(content) * kept)], 3)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("missing", [1, 2, 3, 10, 200])
def test_a_jpeg_without_its_end(progressive: bool, missing: int) -> None:
    content = encoded(Image.fromarray(smooth(60, 90)), "JPEG", progressive=progressive)
    for channels in (1, 3):
        with pytest.raises(UnreadableImageError, match="Premature end"):
            images.decode(content[:-missing], channels)


def test_a_damaged_jpeg_that_pillow_passes_over_is_refused() -> None:
    content = encoded(Image.fromarray(smooth(60, 90)), "JPEG")
    middle = content.index(b"\xff\xda") + (len(content) - content.index(b"\xff\xda")) // 2
    damaged = content[:middle] + content[middle + 40 :]
    assert by_pillow(damaged, "RGB").shape == (60, 90, 3)
    with pytest.raises(UnreadableImageError, match="Corrupt JPEG data"):
        images.decode(damaged, 3)


def test_what_follows_a_jpeg_does_not_matter() -> None:
    content = encoded(Image.fromarray(smooth(60, 90)), "JPEG")
    assert (images.decode(content + b"more", 3) == images.decode(content, 3)).all()


@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_truncated_16_bit(kept: float) -> None:
    values = np.random.default_rng(1).integers(0, 65536, (40, 40, 3)).astype(np.uint16)
    for content in (cv2.imencode(".png", values)[1].tobytes(), by_hand(values)):
        for bits in (8, 16):
            with pytest.raises(UnreadableImageError, match="truncated"):
                images.decode(content[: int(len(content) * kept)], 3, bits)  # type: ignore[arg-type]


def test_a_12_bit_jpeg_is_refused_with_a_reason() -> None:
    content = bytearray(encoded(Image.fromarray(smooth(16, 16)), "JPEG"))
    content[content.index(b"\xff\xc0") + 4] = 12
    with pytest.raises(UnreadableImageError, match="12 bit"):
        images.decode(bytes(content), 3)


@pytest.mark.parametrize("bands", [2, 5, 7])
def test_a_tiff_of_many_bands_is_refused_with_a_reason(bands: int) -> None:
    with pytest.raises(UnreadableImageError, match="a TIFF that is damaged or of an unsupported kind"):
        images.look(by_hand(np.zeros((4, 4, bands)), dtype="u1"))


@pytest.mark.parametrize("channels", [0, 2, 5])
def test_channels_that_no_file_has(channels: int) -> None:
    with pytest.raises(UnreadableImageError, match=f"1, 3 or 4 channels, {channels} are wanted"):
        images.decode(encoded(Image.new("L", (2, 2))), channels)


def test_cmyk_goes_through_pillow_and_agrees_with_it() -> None:
    content = encoded(Image.fromarray(smooth(30, 20)).convert("CMYK"), "JPEG")
    assert images.look(content).decoder == "pillow"
    assert (images.decode(content, 3) == by_pillow(content, "RGB")).all()


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
        monkeypatch.setattr(file_values, "plain", lambda image, error=error: (_ for _ in ()).throw(error))
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


@pytest.mark.parametrize(
    ("width", "height", "least", "parts"),
    [
        (4000, 3000, 448, 4),
        (4000, 3000, 375, 8),
        (4000, 3000, 376, 4),
        (4000, 3000, 1501, 1),
        (4000, 3000, None, 1),
        (1600, 1067, 64, 1),
        (1604, 1068, 64, 4),
        (1602, 1068, 64, 2),
        (3000, 4000, 448, 4),
    ],
)
def test_a_reduction_divides_both_sides(width: int, height: int, least: int | None, parts: int) -> None:
    assert file_values.reduction(width, height, least) == parts


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_reduced_jpeg_is_the_mean_of_its_pixels(channels: int, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    content = encoded(Image.fromarray(smooth(160, 240)), "JPEG", quality=95, subsampling=0, exif=exif)
    whole = images.decode(content, channels).astype(float)
    reduced = images.decode(content, channels, least=40)
    assert reduced.shape == (whole.shape[0] // 4, whole.shape[1] // 4, channels)
    blocks = whole.reshape(reduced.shape[0], 4, reduced.shape[1], 4, channels).mean(axis=(1, 3))
    assert np.abs(reduced - blocks).max() <= 4 and np.abs(reduced - blocks).mean() <= 1
    deep = images.decode(content, channels, 16, least=40)
    assert (deep == reduced.astype(int) * 257).all()
    with pytest.raises(UnreadableImageError, match="Premature end"):
        images.decode(content[:-20], channels, least=40)


def test_other_files_are_not_reduced(colour: np.ndarray) -> None:
    large = Image.fromarray(colour).resize((80, 80))
    assert images.decode(encoded(large), 3, least=10).shape == (80, 80, 3)
    assert images.decode(encoded(large.convert("CMYK"), "JPEG"), 3, least=10).shape == (80, 80, 3)


def test_a_format_that_runs_a_program_is_not_opened(tmp_path: Path) -> None:
    """Pillow gives PostScript to Ghostscript, where there is one."""
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n"
    (tmp_path / "x.png").write_bytes(script)
    assert Image.open(tmp_path / "x.png").format == "EPS"
    for source in (tmp_path / "x.png", script):
        with pytest.raises(UnidentifiedImageError):
            images.picture(source)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="no ordinary file"):
        images.picture(tmp_path / "pipe")
    Image.new("L", (3, 2)).save(tmp_path / "y.gif")
    with images.picture(tmp_path / "y.gif") as opened:
        assert opened.size == (3, 2)


def test_nothing_but_one_function_opens_files_by_pillow() -> None:
    """Another call would open what runs a program, wait for a pipe, or be without a limit of pixels."""
    package = Path(images.__file__).parents[2]
    opens = [
        file.relative_to(package).as_posix()
        for file in sorted(package.rglob("*.py"))
        for line in file.read_text("utf-8").splitlines()
        if "Image.open(" in line and "formats=" not in line
    ]
    assert opens == []


def kinds_of_files(colour: np.ndarray) -> dict[str, bytes]:
    """A file of each way of decoding: by both libraries, with and without transparency, deep, open and in a palette."""
    plain, deep = Image.fromarray(colour), colour.astype(np.uint16) * 257
    opacity = Image.fromarray(np.arange(54, dtype=np.uint8).reshape(6, 9) * 4)
    clear = plain.copy()
    clear.putalpha(opacity)
    grey_clear = plain.convert("L")
    grey_clear.putalpha(opacity)
    deep_clear = np.dstack([deep, np.full((6, 9), 30_000, np.uint16)])
    found = {
        "colour": encoded(plain),
        "grey": encoded(plain.convert("L")),
        "palette": encoded(plain.convert("P")),
        "bits": encoded(plain.convert("1")),
        "inks": encoded(plain.convert("CMYK"), "TIFF"),
        "clear": encoded(clear),
        "grey and clear": encoded(grey_clear),
        "key": encoded(plain.convert("L"), transparency=int(np.asarray(plain.convert("L"))[0, 0])),
        "deep grey": encoded(Image.fromarray(deep[:, :, 0])),
        "deep key": encoded(Image.fromarray(deep[:, :, 0]), transparency=int(deep[0, 0, 0])),
    }
    for name, pixels in (("deep", deep), ("deep and clear", deep_clear)):
        found[name] = cv2.imencode(".png", pixels)[1].tobytes()
    for name, pixels in (
        ("floats", colour[:, :, 0] / np.float32(255)),
        ("signed", deep[:, :, 0].astype(np.int32) // 300),
    ):
        found[name] = cv2.imencode(".tiff", pixels)[1].tobytes()
    return found


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("bits", [8, 16])
def test_pixels_that_are_made_in_strips_are_the_same(
    colour: np.ndarray, channels: int, bits: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decoded() -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, content in kinds_of_files(colour).items():
            how = Decoding(value_range=(0.0, 260.0)) if name in ("floats", "signed") else Decoding()
            found[name] = images.decode(content, channels, bits, how=how)
            found[f"{name}: seen"] = images.is_transparent(content), images.extent(content)
            if name in ("grey", "deep grey", "signed", "palette", "bits"):
                found[f"{name}: mask"] = images.stored_values(content)
        return found

    whole = decoded()
    # Two rows at a time, and one.
    for cells in (20, 1):
        monkeypatch.setattr(transparency, "_STRIP", cells)
        for name, values in decoded().items():
            if isinstance(values, np.ndarray):
                assert values.dtype == whole[name].dtype and np.array_equal(values, whole[name]), name
            else:
                assert values == whole[name], name


def test_large_transparent_images_take_little_more_than_their_pixels() -> None:
    """2,000 x 2,000 pixels: laid over white as whole numbers of 64 bits they would take 400 MB."""
    content = encoded(Image.new("RGBA", (2000, 2000), (9, 8, 7, 100)))
    tracemalloc.start()
    pixels = images.decode(content, 3)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert pixels.shape == (2000, 2000, 3) and most < 220e6


def test_a_file_that_is_no_image_or_far_larger_than_its_pixels_is_not_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "_LARGE", 1000)
    (tmp_path / "nothing.png").write_bytes(bytes(5000))
    with pytest.raises(UnreadableImageError, match="^not an image in a known format$"):
        images.content(tmp_path / "nothing.png")
    small = encoded(Image.new("RGB", (8, 8)), "BMP")
    (tmp_path / "tail.bmp").write_bytes(small + bytes(5000))
    with pytest.raises(UnreadableImageError, match=r"^5,246 bytes are more than an image of 8 x 8 pixels has$"):
        images.content(tmp_path / "tail.bmp")
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    for name, kind in (("a.bmp", "BMP"), ("a.png", "PNG"), ("a.tif", "TIFF")):
        Image.fromarray(noise).save(tmp_path / name, kind)
        assert images.content(tmp_path / name) == (tmp_path / name).read_bytes()


def test_numbers_that_are_read_one_by_one_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow reads a million of them in half a second, where a file of them all may have half a billion."""
    monkeypatch.setattr(limits, "NUMBERS", 100)
    greys = np.arange(100).reshape(10, 10).astype(np.uint8)
    text = b"P2\n10 10\n255\n" + b" ".join(b"%d" % value for value in greys.ravel().tolist())
    assert np.array_equal(images.decode(text, 1)[:, :, 0], greys)
    for content in (
        text.replace(b"10 10", b"10 11"),
        b"P1\n10 11\n" + b"1 " * 110,
        b"P5\n10 11\n254\n" + bytes(110),
        b"P6\n10 10\n65535\n" + bytes(600),
    ):
        with pytest.raises(UnreadableImageError, match=r"^1\d0|^300 numbers and 0 comments, .*more than the 100 that"):
            images.decode(content, 1)
    with pytest.raises(UnreadableImageError, match="100 numbers and 1 comments"):
        images.decode(text.replace(b"\n255\n", b"\n255\n#\n"), 1)
    # These are read as they are.
    for white, kind in ((255, np.uint8), (65535, np.uint16)):
        content = b"P5\n10 11\n%d\n" % white + bytes(110 * np.dtype(kind).itemsize)
        assert not images.decode(content, 1).any()


def test_the_header_of_a_pnm_file_is_at_its_beginning(tmp_path: Path) -> None:
    """Pillow reads a comment letter by letter, and a large one takes no place on the disk."""
    file, wrong = tmp_path / "a.pgm", "a PNM file whose header is longer than 65,536 bytes"
    file.write_bytes(b"P5\n#")
    os.truncate(file, 1 << 30)
    with pytest.raises(UnreadableImageError, match=wrong):
        images.content(file)
    for content in (b"P2\n8 " + b"\n" * 70_000 + b"8\n255\n", b"P6" + b"\n#x" * 30_000 + b"\n8 8 255\n" + bytes(192)):
        with pytest.raises(UnreadableImageError, match=wrong):
            images.look(content)
    # Comments before it, and much after it, are as ever.
    pixels = bytes(range(200)) * 500
    for begin in (b"P5\n# by hand\n#\r250 400 # wide\n255\n", b"P5 250 400 255 "):
        assert images.decode(begin + pixels, 1).tobytes() == pixels
