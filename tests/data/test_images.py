"""Images are decoded upright, in 8 or 16 bit, or refused with a reason, never with a traceback."""

from __future__ import annotations

import io
import random
import struct
from typing import Any

import cv2
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


def test_floating_point_tiff() -> None:
    unit = images.decode(encoded(Image.fromarray(np.array([[0, 100.2, 255]], np.float32)), "TIFF"), 1)
    assert unit[0, :, 0].tolist() == [0, 100, 255]
    large = images.decode(encoded(Image.fromarray(np.array([[0, 32768, 65535]], np.float32)), "TIFF"), 1)
    assert large[0, :, 0].tolist() == [0, 128, 255]


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
    assert images.reduction(width, height, least) == parts


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
