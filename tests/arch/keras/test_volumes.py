"""Networks for slices: those of a fixed size take slices of any, where no weight depends on it."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from mlpipe.arch.keras import volumes
from mlpipe.errors import ConfigError


def layers(size: list[int | None], *ends: dict[str, Any]) -> str:
    first = {"name": "first", "filters": 4, "kernel_size": 3, "padding": "same", "activation": "relu"}
    middle = {"name": "up", "filters": 2, "kernel_size": 2, "strides": 2}
    return json.dumps([
        {"class_name": "Conv3D", "config": {**first, "batch_input_shape": [None, *size, 1]}},
        {"class_name": "MaxPooling3D", "config": {"pool_size": 2}},
        {"class_name": "Conv3DTranspose", "config": middle},
        *ends,
    ])  # fmt: skip


def test_blocks_are_learned_and_a_slab_is_predicted() -> None:
    fixed, _ = volumes.network({"layers": layers([4, 4, 4])}, 1, (6, 8, 10))
    free, _ = volumes.network({"layers": layers([None, None, None])}, 1, (6, 8, 10))
    free.load_state_dict(fixed.state_dict())
    slab = torch.rand(2, 1, 6, 8, 10)
    assert fixed(slab).shape == (2, 2, 6, 8, 10) and torch.equal(fixed(slab), free(slab))


@pytest.mark.parametrize(
    ("ends", "channels", "sizes", "sentence"),
    [
        ([{"class_name": "Flatten", "config": {}}, {"class_name": "Dense", "config": {"units": 5}}], 1, (6, 8, 10),
         r"takes \[4, 4, 4, 1\], slices are \[6, 8, 10, 1\]"),
        ([], 2, (4, 4, 4), r"takes \[4, 4, 4, 1\], slices are \[4, 4, 4, 2\]"),
        ([], 1, (4, 4), r"takes \[4, 4, 4, 1\], slices are \[4, 4, 1\]"),
        ([], 1, (5, 4, 4), r"gives \[4, 4, 4, 2\] of slices of \[5, 4, 4, 1\]"),
    ],
)  # fmt: skip
def test_what_takes_no_such_slices(ends: Any, channels: int, sizes: tuple[int, ...], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        volumes.network({"layers": layers([4, 4, 4], *ends)}, channels, sizes)
