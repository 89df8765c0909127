"""Keras networks that give the rows of a detector's cells."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from mlpipe.arch import boxes
from mlpipe.arch.classifier import RAW, Head, Pixels
from mlpipe.arch.keras.detector import KerasDetector
from mlpipe.arch.keras.keras_json import keras_json
from mlpipe.errors import ConfigError
from tests.build import grid_layers


def built(side: int, classes: int, numbers: int, **options: Any) -> KerasDetector:
    torch.manual_seed(0)
    head = Head(classes, most=boxes.MOST)
    made = keras_json({"target": head}, Pixels(3, side), layers=grid_layers(side, numbers), **options)
    assert isinstance(made, KerasDetector)
    return made


def test_the_public_form() -> None:
    network = built(416, 80, 255)
    images = torch.randint(0, 256, (1, 3, 416, 416), dtype=torch.uint8)
    network.eval()
    with torch.no_grad():
        found = network(images, torch.zeros(1, 1, 5))
        given = network.backbone(images / 255)
    raw = found["target" + RAW]
    assert given.shape == (1, 255, 3549) and raw.shape == (1, 3 * 3549, 85 + boxes.PLACES)
    # Row 5 and column 7 of the grid of 26 x 26 cells, its second anchor.
    cell = 13 * 13 + 5 * 26 + 7
    row = raw[0, 3 * cell + 1]
    assert torch.allclose(row[:85], given[0, 85:170, cell], atol=1e-5)
    assert row[-6:].tolist() == [7 * 16, 5 * 16, 16, 16, 62, 45]
    best = found["target"][0, 0]
    centre = 7 * 16 + 16 / (1 + math.exp(-float(row[0])))
    assert boxes.decoded(raw)[0, 3 * cell + 1, [0, 2]].mean().item() == pytest.approx(centre, rel=1e-5)
    assert 0 < best[4] < 1 and network.taken_off == 0


def test_it_learns_from_rows_and_takes_anchors() -> None:
    network = built(64, 2, 7, anchors=[[8, 8], [16, 16], [32, 32]])
    rows = network(torch.zeros(2, 3, 64, 64))["target"]
    assert rows.shape == (2, 4 + 16 + 64, 7 + boxes.PLACES) and network.anchors.tolist() == [
        [[32, 32]],
        [[16, 16]],
        [[8, 8]],
    ]
    rows[..., :7].sum().backward()
    assert all(one.grad is not None for one in network.parameters())


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"gives 255 numbers for a cell, the task has 2 classes; give 7 for each anchor"
    ):
        built(64, 2, 255)
    with pytest.raises(ConfigError, match=r"arch\.anchors: the network has 3 anchors for each of 3 grids.* list 9"):
        built(64, 2, 21, anchors=[[1, 1]])
    layers = [{"class_name": "Flatten", "config": {"name": "f", "batch_input_shape": [None, 64, 64, 3]}}]
    with pytest.raises(ConfigError, match="boxes come from the cells of grids of 32, 16 and 8 pixels"):
        keras_json({"target": Head(2, most=100)}, Pixels(3, 64), layers=layers)
    with pytest.raises(ConfigError, match=r"arch\.anchors: are for boxes"):
        keras_json({"target": Head(2)}, Pixels(3, 64), layers=layers, anchors="kmeans")
