"""Patches that images lose are what targets have, drawn from the sample's seed alone."""

from __future__ import annotations

import numpy as np
import pytest

from mlpipe.data.augment.patches import random_patches
from mlpipe.errors import DataError

SEEDS = np.arange(4, dtype=np.uint64)


def test_images_and_targets_share_every_pixel() -> None:
    images = np.random.default_rng(0).integers(1, 256, (4, 12, 10, 3)).astype(np.uint8)
    step = random_patches(number=2, size=4)
    inputs, targets = step(images, np.zeros_like(images), SEEDS)
    assert np.array_equal(inputs + targets, images)  # type: ignore[operator]
    taken = np.asarray(targets).any(axis=3)
    assert np.array_equal(taken, np.asarray(targets).all(axis=3)) and not (taken & np.asarray(inputs).any(axis=3)).any()
    # Two squares of 16 pixels that may overlap.
    assert all(16 <= count <= 32 for count in taken.sum(axis=(1, 2)))
    assert len({one.tobytes() for one in taken}) > 1
    again, _ = step(list(images[1:2]), list(images[1:2]), SEEDS[1:2])
    assert np.array_equal(again[0], inputs[1])


def test_every_place_is_as_likely() -> None:
    step = random_patches(number=1, size=3)
    corners = [step.inside(5, 4, np.array([seed], np.uint64)) for seed in range(600)]
    places = np.array([np.argwhere(one)[0] for one in corners])
    assert all(one.sum() == 9 for one in corners)
    counts = np.zeros((3, 2))
    np.add.at(counts, tuple(places.T), 1)
    assert counts.min() > 70


def test_what_does_not_fit_is_named() -> None:
    images = np.zeros((1, 6, 8, 1), np.uint8)
    with pytest.raises(DataError, match="random_patches of 7 pixels do not fit into an image of 8 x 6"):
        random_patches(number=1, size=7)(images, images, SEEDS[:1])
    with pytest.raises(DataError, match="makes targets of 1 channel, the task's have 3"):
        random_patches(number=1, size=2)(images, np.zeros((1, 6, 8, 3), np.uint8), SEEDS[:1])
