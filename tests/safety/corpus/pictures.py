"""Hostile pictures: more pixels than memory, damaged, empty, misnamed, or with bombs in their notes."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from tests.safety.corpus import Hostile
from tests.safety.corpus.archives import good, png


def _folder(name: str, content: bytes) -> Callable[[Path], list[str]]:
    """A task of good pictures and one hostile one, which is decoded."""

    def make(work: Path) -> list[str]:
        for member, data in {**good(), name: content}.items():
            (work / "images" / member).parent.mkdir(parents=True, exist_ok=True)
            (work / "images" / member).write_bytes(data)
        return ["pp", "task=folder", "task.root=images", "preprocessing.size=8"]

    return make


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png_of(width: int, height: int, *chunks: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + b"".join(chunks) + _chunk(b"IEND", b"")


def _deep_bomb() -> bytes:
    """13,377 x 13,377 pixels of four colours of 16 bit, of which hardly any are there."""
    header = struct.pack(">IIBBBBB", 13_377, 13_377, 16, 6, 0, 0, 0)
    inside = _chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + inside + _chunk(b"IEND", b"")


def _declared(width: int, height: int) -> bytes:
    """A JPEG 2000 of 32 x 32 pixels that says to be larger."""
    return _saved("jpeg2000").replace(struct.pack(">II", 32, 32), struct.pack(">II", width, height))


def _saved(kind: str, mode: str = "RGB", **options: object) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(5).integers(0, 255, (32, 32, 3)).astype(np.uint8)
    Image.fromarray(pixels).convert(mode).save(buffer, kind, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def _frames() -> bytes:
    buffer = io.BytesIO()
    first, *others = [Image.fromarray(np.full((8, 8), 40 * n, np.uint8)) for n in range(5)]
    first.save(buffer, "gif", save_all=True, append_images=others)
    return buffer.getvalue()


def _deep() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000).save(buffer, "png")
    return buffer.getvalue()


def _text_bomb() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "a" * (80 << 20), zip=True)
    return _saved("png", pnginfo=info)


def _exif_bomb() -> bytes:
    """A JPEG whose notes lead to themselves and claim four billion entries."""
    content = _saved("jpeg")
    tiff = b"II*\0\x08\0\0\0" + struct.pack("<H", 2) + struct.pack("<HHII", 0x8769, 4, 1, 8)
    tiff += struct.pack("<HHII", 0x0112, 5, 0xFFFFFFFF, 0xFFFFFFF0) + struct.pack("<I", 8)
    block = b"Exif\0\0" + tiff
    return content[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + content[2:]


def _profile_bomb() -> bytes:
    """A PNG whose colour profile unpacks to 400 MB."""
    content = _saved("png")
    return content[:33] + _chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(400 << 20), 9)) + content[33:]


def _vast_gif() -> bytes:
    screen = b"GIF89a\xff\xff\xff\xff\x80\0\0" + bytes(6)
    return screen + b",\0\0\0\0\x08\0\x08\0\0\x02\x02D\x01\0;"


def _vast_tiles() -> bytes:
    entries = [(256, 3, 1, 8), (257, 3, 1, 8), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    entries += [(322, 4, 1, 1 << 31), (323, 4, 1, 1 << 31), (324, 4, 1, 8)]
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + packed + bytes(64)


def _renamed(work: Path, name: str) -> list[str]:
    """A task of good pictures, a folder of which has another name."""
    words = _folder("a/x.png", png(9))(work)
    (work / "images" / "a").rename(work / "images" / name)
    return words


def _without_tables() -> bytes:
    """A JPEG whose Huffman tables are noise."""
    content = bytearray(_saved("jpeg"))
    at = content.index(b"\xff\xc4") + 5
    content[at : at + 40] = b"\xaa" * 40
    return bytes(content)


def _tiff_loop() -> bytes:
    """A TIFF whose directory is its own successor, with a strip beyond the file."""
    entries = [(256, 3, 1, 64), (257, 3, 1, 64), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 1 << 31)]
    entries += [(277, 3, 1, 1), (278, 3, 1, 64), (279, 4, 1, 1 << 30)]
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + packed + struct.pack("<I", 8)


_BOMB = _png_of(60_000, 60_000, _chunk(b"IDAT", zlib.compress(bytes(1000))))
_SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
CASES = [
    Hostile("a colour profile of 400 MB in a PNG", _folder("a/x.png", _profile_bomb()), "a/x.png"),
    Hostile("a GIF of 65,535 by 65,535", _folder("a/x.gif", _vast_gif()), "more than 178,956,970 pixels"),
    Hostile("a PGM whose numbers never end", _folder("a/x.pgm", b"P2\n8 8\n255\n" + b"1" * 1_000_000), "a/x.pgm"),
    Hostile("a PPM with a width of 5,000 digits", _folder("a/x.ppm", b"P6\n" + b"9" * 5000 + b" 8\n255\n"), "a/x.ppm"),
    Hostile("a TIFF with tiles of 2^31 pixels", _folder("a/x.tif", _vast_tiles()), "a/x.tif"),
    Hostile(
        "a class folder over two lines",
        lambda work: _renamed(work, "a\nb"),
        "has an end of a line, a tab or a control character",
    ),
    Hostile("a class folder that turns the writing round", lambda work: _renamed(work, "a\u202eb"), "rename the class"),
    Hostile("3.6 billion pixels in 100 bytes", _folder("a/x.png", _BOMB), "more than 178,956,970 pixels"),
    Hostile("a picture without pixels", _folder("a/x.png", _png_of(0, 0)), "a/x.png"),
    Hostile("1.4 GB of 16-bit colours in a few bytes", _folder("a/x.png", _deep_bomb()), "2,863,106,064 bytes"),
    Hostile("zero bytes", _folder("a/x.png", b""), "the file is empty"),
    Hostile("a PNG cut off", _folder("a/x.png", _saved("png")[:200]), "a/x.png"),
    Hostile("a JPEG cut off", _folder("a/x.jpg", _saved("jpeg")[:300]), "a/x.jpg"),
    Hostile("a JPEG with broken Huffman tables", _folder("a/x.jpg", _without_tables()), "a/x.jpg"),
    Hostile(
        "a JPEG of 65,500 by 65,500",
        _folder("a/x.jpg", b"\xff\xd8\xff\xc0\0\x11\x08\xff\xdc\xff\xdc\x03\x01\x22\0\x02\x11\x01\x03\x11\x01\xff\xd9"),
        "a/x.jpg",
    ),
    Hostile("a TIFF that leads to itself", _folder("a/x.tif", _tiff_loop()), "a/x.tif"),
    Hostile(
        "a BMP of negative size",
        _folder("a/x.bmp", b"BM" + struct.pack("<IHHIIiiHH", 54, 0, 0, 54, 40, -5, 1 << 30, 1, 24) + bytes(30)),
        "a/x.bmp",
    ),
    Hostile(
        "a WebP whose length lies",
        _folder("a/x.webp", b"RIFF\xff\xff\xff\x7fWEBPVP8 \xff\xff\xff\x7f" + bytes(40)),
        "a/x.webp",
    ),
    Hostile("a JPEG 2000 of nothing", _folder("a/x.jp2", b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(60)), "a/x.jp2"),
    Hostile(
        "a JPEG 2000 of 13,000 x 13,000 in a kilobyte",
        _folder("a/x.jp2", _declared(13_000, 13_000)),
        "2,028,000,000 bytes",
    ),
    Hostile("an SVG that reads files", _folder("a/x.png", _SVG), "not an image in a known format"),
    Hostile(
        "a program named as a picture",
        _folder("a/x.png", b"#!/bin/sh\ntouch ../proof\n"),
        "not an image in a known format",
    ),
    Hostile(
        "PostScript, which Pillow could run",
        _folder("a/x.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n"),
        "not an image in a known format",
    ),
    Hostile("80 MB of text in a PNG", _folder("a/x.png", _text_bomb()), "a/x.png"),
    Hostile("EXIF notes that lead to themselves", _folder("a/x.jpg", _exif_bomb()), "packed 13 images", code=0),
    Hostile("a PNG named as a JPEG", _folder("a/x.jpg", png(9)), "packed 13 images", code=0),
    Hostile("an animation", _folder("a/x.gif", _frames()), "packed 13 images", code=0),
    Hostile("16 bits", _folder("a/x.png", _deep()), "packed 13 images", code=0),
    Hostile("CMYK", _folder("a/x.jpg", _saved("jpeg", "CMYK")), "packed 13 images", code=0),
    Hostile("a palette", _folder("a/x.png", _saved("png", "P")), "packed 13 images", code=0),
    Hostile("a name with commands to the terminal", _folder("a/\x1b[31mx.png", b""), r"\x1b[31mx.png"),
    Hostile("a name that is not UTF-8", _folder("a/\udcffx.png", png(9)), "is not UTF-8"),
]
