"""What an exported file is given of a sample."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlpipe.data.decoding.images import UnreadableImageError
from mlpipe.data.preprocessing import Preprocessing
from mlpipe.running.onnx_predictor import OnnxPredictor

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (24, 20, 3), np.uint8)


def seen(image: np.ndarray, **changed: Any) -> np.ndarray:
    model = object.__new__(OnnxPredictor)
    facts = {"channels": 3, "least": None, "any_size": False, "size": [12, 10], "is_dense": False, "dtype": "uint8"}
    model.facts, model.has_arrays, model._columns = {**facts, **changed}, False, tuple(changed.get("columns", ()))
    model._preprocessing = Preprocessing("file", 3, (12, 10), "squash")
    return model._input_pixels(lambda channels, least: image)


def test_an_image_is_resized_to_what_the_file_takes() -> None:
    np.testing.assert_array_equal(seen(IMAGE), Preprocessing("x", 3, (12, 10), "squash")(IMAGE))
    np.testing.assert_array_equal(seen(IMAGE, any_size=True), IMAGE)


@pytest.mark.parametrize("changed", [{"is_dense": True}, {"columns": ["x0"]}])
def test_what_lies_in_an_image_is_not_predicted_of_a_resized_one(changed: dict[str, Any]) -> None:
    with pytest.raises(UnreadableImageError, match="has 24 x 20 values, the file takes 12 x 10"):
        seen(IMAGE, **changed)
    np.testing.assert_array_equal(seen(IMAGE, size=[24, 20], **changed), IMAGE)
