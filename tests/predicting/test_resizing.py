"""The resize of a file is Pillow's, or OpenCV's linear one, in every bit, whatever the sizes, in PyTorch and in ONNX."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from mlpipe.data import preprocessing
from mlpipe.predicting import resizing

RNG = np.random.default_rng(0)
# From 1 pixel on, up, down, one side alone, far higher than wide, far wider than high, and many of chance.
SIZES = [
    ((1, 1), (1, 1)), ((1, 1), (7, 5)), ((1, 9), (8, 8)), ((9, 1), (8, 8)), ((28, 28), (64, 64)), ((17, 23), (17, 9)),
    ((17, 23), (5, 23)), ((400, 12), (8, 8)), ((12, 400), (8, 8)), ((61, 59), (1, 1)), ((8, 8), (8, 8)),
    *(tuple(map(tuple, RNG.integers(1, (90, 40)[number % 2], (2, 2)).tolist())) for number in range(200)),
]  # fmt: skip


def pillows(pixels: np.ndarray, high: int, wide: int, name: str) -> np.ndarray:
    """Shape (height, width), through Pillow alone."""
    return np.asarray(Image.fromarray(pixels).resize((wide, high), Image.Resampling[name.upper()]))


@pytest.mark.parametrize("name", resizing.FILTERS)
def test_every_bit_of_pixels_is_pillows(name: str) -> None:
    # The default in all sizes, others in some.
    for before, (high, wide) in SIZES if name == "bilinear" else SIZES[:70]:
        pixels = RNG.integers(0, 256, (2, *before), np.uint8)
        # Edges between black and white, of which sharp filters overshoot.
        pixels[1] = np.where(pixels[1] > 127, 255, 0)
        found = resizing.resized(torch.from_numpy(pixels)[None], high, wide, name)[0].numpy()
        for one, other in zip(pixels, found, strict=True):
            np.testing.assert_array_equal(other, pillows(one, high, wide, name), f"{before} to {high} x {wide}")


@pytest.mark.parametrize("name", resizing.FILTERS)
def test_of_floats_it_is_pillows_to_the_last_digit_of_single_precision(name: str) -> None:
    for before, (high, wide) in SIZES[:60]:
        values = RNG.normal(size=before).astype(np.float32)
        found = resizing.resized(torch.from_numpy(values)[None, None], high, wide, name)[0, 0].numpy()
        np.testing.assert_allclose(found, pillows(values, high, wide, name), rtol=0, atol=5e-7)


def test_every_bit_of_a_linear_resize_is_opencvs() -> None:
    for before, (high, wide) in [*SIZES, ((40, 60), (20, 30)), ((64, 64), (16, 16))]:
        pixels = RNG.integers(0, 256, (*before, 3), np.uint8)
        pixels[..., 1] = np.where(pixels[..., 1] > 127, 255, 0)
        wanted = cv2.resize(pixels, (wide, high), interpolation=cv2.INTER_LINEAR).reshape(high, wide, 3)
        found = resizing.resized(torch.from_numpy(pixels)[None].movedim(-1, 1), high, wide, "linear")[0].movedim(0, -1)
        np.testing.assert_array_equal(found.numpy(), wanted, f"{before} to {high} x {wide}")


def test_a_linear_resize_of_floats_is_opencvs_nearly() -> None:
    for before, (high, wide) in SIZES[:60]:
        values = RNG.normal(size=before).astype(np.float32)
        wanted = cv2.resize(values, (wide, high), interpolation=cv2.INTER_LINEAR).reshape(high, wide)
        found = resizing.resized(torch.from_numpy(values)[None, None], high, wide, "linear")[0, 0].numpy()
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)


def test_colours_are_those_of_the_pipeline() -> None:
    for channels in (1, 2, 3, 4):
        pixels = RNG.integers(0, 256, (37, 53, channels), np.uint8)
        found = resizing.resized(torch.from_numpy(pixels)[None].movedim(-1, 1), 16, 24)[0].movedim(0, -1)
        np.testing.assert_array_equal(found.numpy(), preprocessing.resized(pixels, 16, 24))


class Resizer(nn.Module):
    """The resize alone."""

    def forward(self, pixels: Tensor) -> Tensor:
        return resizing.resized(pixels, 24, 20, "bicubic")


@pytest.mark.program
def test_a_graph_for_all_sizes_is_pillows_too(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    dims = {axis: torch.export.Dim(name, min=1, max=4096) for axis, name in ((2, "height"), (3, "width"))}
    example = torch.zeros(1, 1, 31, 33, dtype=torch.uint8)
    program = torch.onnx.export(
        Resizer(), (example,), dynamo=True, opset_version=18, dynamic_shapes={"pixels": dims}, verbose=False
    )
    program.save(str(tmp_path / "a.onnx"))
    session = onnxruntime.InferenceSession(str(tmp_path / "a.onnx"))
    (given,) = session.get_inputs()
    for before in [*(before for before, _ in SIZES[:40]), (1500, 20), (20, 1500), (333, 777)]:
        pixels = RNG.integers(0, 256, before, np.uint8)
        (found,) = session.run(None, {given.name: pixels[None, None]})
        np.testing.assert_array_equal(found[0, 0], pillows(pixels, 24, 20, "bicubic"), str(before))
