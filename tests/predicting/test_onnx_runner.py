"""The program beside an exported file: images become what the models saw, rows become the table's cells."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mlpipe import files
from mlpipe.data.decoding import images
from mlpipe.data.decoding.images import UnreadableImageError
from mlpipe.data.preprocessing import Preprocessing, Resize
from mlpipe.post.figures import rounded

pytest.importorskip("onnxruntime")

from mlpipe.predicting import onnx_runner

RNG = np.random.default_rng(0)
FACTS: dict[str, Any] = {
    "any_size": False, "size": [12, 10], "resize": "squash", "interpolation": "bilinear", "channels": 3,
    "background": "white", "classes": ["a", "b", "c"], "has_probabilities": True, "one_is_true": True, "least": None,
    "cuts": [0.5, 0.5, 0.5], "choices": {}, "lists": {}, "numbers": [("p(a)", 0, 0.0), ("p(b)", 1, 0.0), ("p(c)", 2, 0.0)],
    "mask_values": [0, 7, 255], "is_dense": False, "columns": [], "endings": sorted(images.EXTENSIONS),
    "computed": files.COMPUTED.pattern,
}  # fmt: skip


@pytest.mark.parametrize("resize", ["squash", "short_side", "pad"])
@pytest.mark.parametrize(("shape", "mode"), [((31, 17), "RGB"), ((9, 40), "L"), ((20, 20), "RGBA"), ((12, 10), "P")])
@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_those_that_the_program_makes(
    tmp_path: Path, resize: Resize, shape: tuple[int, int], mode: str, channels: int
) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(RNG.integers(0, 256, (*shape, 4), np.uint8), "RGBA").convert(mode).save(path)
    wanted = Preprocessing("x", channels, (12, 10), resize)(images.decode(path.read_bytes(), channels))
    got = onnx_runner.pixels_of(path, FACTS | {"resize": resize, "channels": channels})
    np.testing.assert_array_equal(got[0], wanted)


@pytest.mark.parametrize("shape", [(320, 480), (322, 480), (96, 104), (321, 479)])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_large_jpeg_is_decoded_at_the_size_that_the_program_decodes_it_at(
    tmp_path: Path, shape: tuple[int, int], channels: int
) -> None:
    path, before = tmp_path / "a.jpg", Preprocessing("x", channels, (12, 10), "squash")
    rough = Image.fromarray(RNG.integers(0, 256, (9, 7, 3), np.uint8))
    rough.resize(shape[::-1], Image.Resampling.BICUBIC).save(path, quality=90)
    wanted = before(images.decode(path.read_bytes(), channels, least=before.least))
    for any_size in (False, True):
        got = onnx_runner.pixels_of(path, FACTS | {"channels": channels, "least": before.least, "any_size": any_size})[
            0
        ]
        np.testing.assert_array_equal(before(got), wanted)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["CMYK", "RGB"])
def test_a_jpeg_of_inks_or_of_several_pictures_is_decoded_whole_as_by_the_program(
    tmp_path: Path, mode: str, channels: int
) -> None:
    rough = Image.fromarray(RNG.integers(0, 256, (9, 7, 3), np.uint8)).resize((480, 320)).convert(mode)
    path, before = tmp_path / "a.jpg", Preprocessing("x", channels, (12, 10), "squash")
    # What a camera writes that keeps a second picture.
    several = {"format": "MPO", "save_all": True, "append_images": [rough]} if mode == "RGB" else {}
    rough.save(path, quality=90, **several)
    wanted = images.decode(path.read_bytes(), channels, least=before.least)
    got = onnx_runner.pixels_of(path, FACTS | {"channels": channels, "least": before.least, "any_size": True})[0]
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize(
    ("facts", "values", "cells"),
    [
        ({}, [0.2, 0.5, 0.3], {"prediction": "b", "probability": 0.5, "p(a)": 0.2, "p(b)": 0.5, "p(c)": 0.3}),
        ({"lists": {"set": [0.1, 0.6, 0.3]}}, [0.2, 0.5, 0.3], {"set": "a | c"}),
        ({"choices": {"decision": [[0, -1, -1], [0, -9, -9], [-1, -1, 0]]}}, [0.2, 0.5, 0.3], {"decision": "a"}),
        (
            {"one_is_true": False, "lists": {"labels": [0.1, 0.7, 0.5]}},
            [0.2, 0.5, 0.6],
            {"labels": "a | c", "p(a)": 0.2},
        ),
        (
            {"has_probabilities": False, "one_is_true": False, "numbers": [("a", 0, 0.0), ("b low", 1, -1.0)]},
            [1, 2, 3],
            {"a": 1, "b low": 1},
        ),
    ],
)
def test_cells(facts: dict[str, Any], values: list[float], cells: dict[str, Any]) -> None:
    (got,) = onnx_runner.cells_of(np.array(values), FACTS | facts)
    assert {key: got[key] for key in cells} == cells


def test_small_numbers_are_not_lost(tmp_path: Path) -> None:
    """As in `mml predict`: six decimals, and six digits of what is smaller."""
    Image.new("RGB", (10, 12)).save(tmp_path / "a.png")
    values = np.array([[3.21e-8, 2.1234567, -4.56789e-5]])
    session = SimpleNamespace(run=lambda names, given: [values])
    facts = FACTS | {
        "has_probabilities": False,
        "one_is_true": False,
        "numbers": [(name, k, 0.0) for k, name in enumerate("abc")],
    }
    (row,) = onnx_runner.rows_of(session, facts, tmp_path, tmp_path / "a.png")
    assert row == {"image": "a.png", "a": 3.21e-8, "b": 2.123457, "c": -4.56789e-5}
    assert [row[name] for name in "abc"] == [rounded(value) for value in values[0].tolist()]


def test_cells_of_places() -> None:
    values = np.array([[[0.2, 0.5, 0.3], [0.6, 0.2, 0.2]], [[0.1, 0.1, 0.8], [0.9, 0.1, 0.0]]])
    shares = [(f"share({name})", place, 0.0) for place, name in enumerate("abc")]
    (got,) = onnx_runner.cells_of(values, FACTS | {"numbers": shares})
    assert got.pop("mask").tolist() == [[7, 0], [255, 0]]
    assert got.pop("confidence") == pytest.approx(0.7)
    assert got == {"share(a)": 0.5, "share(b)": 0.25, "share(c)": 0.25, "unseen": 0.0}
    (numbers,) = onnx_runner.cells_of(values, FACTS | {"has_probabilities": False})
    assert numbers["prediction"] is values and numbers["mean"] == pytest.approx(1 / 3)


def test_rows_of_boxes() -> None:
    values = np.array([[1.0, 2, 30, 40, 0.6, 2], [3, 4, 5, 6, 0.4, 0], [0] * 6])
    facts = FACTS | {"columns": ["x0", "y0", "x1", "y1", "score", "class"], "cuts": [0.3, 0.5, 0.5]}
    first, second = onnx_runner.cells_of(values, facts)
    assert first == {"x0": 1, "y0": 2, "x1": 30, "y1": 40, "score": 0.6, "class": "c", "kept": True}
    assert second["class"] == "a" and second["kept"]
    assert not onnx_runner.cells_of(values, facts | {"cuts": [0.5, 0.5, 0.7]})[0]["kept"]


def test_what_lies_in_an_image_is_not_predicted_of_a_resized_one(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(RNG.integers(0, 256, (24, 20, 3), np.uint8)).save(path)
    for changed in ({"is_dense": True}, {"columns": ["x0", "y0", "x1", "y1", "score", "class"]}):
        with pytest.raises(ValueError, match="has 24 x 20 pixels, the file takes 12 x 10"):
            onnx_runner.pixels_of(path, FACTS | changed)
        assert onnx_runner.pixels_of(path, FACTS | changed | {"size": [24, 20]}).shape == (1, 24, 20, 3)
        assert onnx_runner.pixels_of(path, FACTS | changed | {"any_size": True}).shape == (1, 24, 20, 3)


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_greys_of_16_bits_are_rounded_as_the_program_rounds_them(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    Image.fromarray(np.arange(65536, dtype=np.uint16).reshape(256, 256)).save(path)
    for channels in (1, 3):
        got = onnx_runner.pixels_of(path, FACTS | {"any_size": True, "channels": channels})
        np.testing.assert_array_equal(got[0], images.decode(path.read_bytes(), channels))


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_values_without_black_and_white_are_no_image_for_both(tmp_path: Path, kind: type) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(RNG.integers(0, 256, (9, 8)).astype(kind)).save(path)
    with pytest.raises(UnreadableImageError, match="does not say which of them are black and white"):
        images.decode(path.read_bytes(), 1)
    with pytest.raises(ValueError, match="do not say which of them are black and white"):
        onnx_runner.pixels_of(path, FACTS | {"any_size": True})


def test_the_runner_is_short() -> None:
    lines = Path(onnx_runner.__file__).read_text("utf-8").splitlines()
    assert sum(bool(line.strip()) for line in lines) <= 80


class Session:
    """In place of onnxruntime's: every image is `=b`."""

    def __init__(self, model: str) -> None: ...

    def get_modelmeta(self) -> Any:
        known = FACTS | {"classes": ["a", "=b", "c"], "any_size": True}
        return SimpleNamespace(custom_metadata_map={"mlpipe": json.dumps(known)})

    def run(self, names: list[str], given: dict[str, Any]) -> Any:
        return [np.array([[0.2, 0.5, 0.3]])]


def test_names_of_files_and_classes_are_texts_for_a_spreadsheet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("=cmd.png", "a\rb.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    (tmp_path / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    os.mkfifo(tmp_path / "pipe.png")
    os.close(os.open(os.fsencode(tmp_path) + b"/\xff.png", os.O_CREAT))
    monkeypatch.setattr("onnxruntime.InferenceSession", Session)
    onnx_runner.main("model.onnx", str(tmp_path))
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out, newline="")))
    assert [row["image"] for row in rows] == ["'=cmd.png", "a\rb.png", "damaged.png", "\\udcff.png"]
    assert [row["prediction"] for row in rows] == ["'=b", "'=b", "", ""]
    assert [bool(row["problem"]) for row in rows] == [False, False, True, True]


def test_the_runner_opens_the_formats_of_the_pipeline() -> None:
    listed = ", ".join(f'"{name}"' for name in images.FORMATS)
    assert f"formats=[{listed}]" in Path(onnx_runner.__file__).read_text("utf-8")
