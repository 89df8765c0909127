"""The program beside an exported file: images become what the models saw, rows become the table's cells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mlpipe.data.decoding import images
from mlpipe.data.preprocessing import Preprocessing, Resize

pytest.importorskip("onnxruntime")

from mlpipe.predicting import onnx_runner

RNG = np.random.default_rng(0)
FACTS: dict[str, Any] = {
    "any_size": False, "size": [12, 10], "resize": "squash", "interpolation": "bilinear", "channels": 3,
    "background": "white", "classes": ["a", "b", "c"], "has_probabilities": True, "one_is_true": True, "cuts": {},
    "costs": None, "decide_above": [], "set_above": [], "halfwidths": {},
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


@pytest.mark.parametrize(
    ("facts", "values", "cells"),
    [
        ({}, [0.2, 0.5, 0.3], {"prediction": "b", "probability": 0.5, "p(a)": 0.2, "p(b)": 0.5, "p(c)": 0.3}),
        ({"set_above": [0.1, 0.6, 0.3]}, [0.2, 0.5, 0.3], {"set": "a | c"}),
        ({"costs": [[0, 1, 1], [0, 9, 9], [1, 1, 0]]}, [0.2, 0.5, 0.3], {"decision": "a"}),
        ({"decide_above": [0.1, 0.5, 0.5]}, [0.2, 0.5, 0.3], {"decision": "a"}),
        ({"one_is_true": False, "cuts": {"a": 0.1}}, [0.2, 0.5, 0.6], {"labels": "a | c", "p(a)": 0.2}),
        ({"has_probabilities": False, "halfwidths": {"b": 1.0}}, [1, 2, 3], {"a": 1, "b": 2, "b low": 1, "b high": 3}),
    ],
)
def test_cells(facts: dict[str, Any], values: list[float], cells: dict[str, Any]) -> None:
    got = onnx_runner.cells_of(np.array(values), FACTS | facts)
    assert {key: got[key] for key in cells} == cells
