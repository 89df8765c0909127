"""Steps move images and target images alike, and change the colours of images only, unless asked otherwise."""

from __future__ import annotations

from functools import partial
from typing import Any

import albumentations
import numpy as np
import pytest
from torchvision.transforms import v2

from mlpipe.data.augment import geometry, paired, samples
from mlpipe.errors import DataError

SEEDS = np.arange(6, dtype=np.uint64)
OWN, GEOMETRY = "mlpipe.data.augment.samples", "mlpipe.data.augment.geometry"
adapt, apply = partial(paired.adapt, of_images=True), partial(paired.apply, of_images=True)


def pair(size: int = 24) -> tuple[Any, Any]:
    """Images of one channel, and targets of two: the same and its half, so that whatever moves both keeps that."""
    smooth = np.random.default_rng(0).normal(size=(6, size, size, 1)).astype(np.float32).cumsum(1).cumsum(2)
    return smooth, np.concatenate([smooth, smooth / 2], axis=3)


@pytest.mark.parametrize(
    ("name", "step"),
    [
        (f"{OWN}.horizontal_flip", samples.horizontal_flip()),
        (f"{OWN}.rotate90", samples.rotate90()),
        (f"{OWN}.random_resized_crop", samples.random_resized_crop(size=16)),
        (f"{GEOMETRY}.random_rotate", geometry.random_rotate(degrees=20)),
        (f"{GEOMETRY}.random_zoom", geometry.random_zoom(most=0.4)),
        ("albumentations.Rotate", albumentations.Rotate(limit=30, p=1)),
        ("albumentations.Compose", albumentations.Compose([albumentations.Affine(scale=(0.7, 1.3), p=1)])),
        (
            "torchvision.transforms.v2.RandomRotation",
            v2.RandomRotation(20, interpolation=v2.InterpolationMode.BILINEAR),
        ),
    ],
)
def test_both_move_and_are_interpolated_alike(name: str, step: Any) -> None:
    images, targets = pair()
    moved, others = apply([adapt(name, step)], images, targets, SEEDS)
    moved, others = np.asarray(moved), np.asarray(others)
    assert moved.shape[:3] == others.shape[:3] and others.shape[3] == 2
    # OpenCV rounds places to a 32nd of a pixel in another way for other numbers of channels.
    near = 0.02 * images.std()
    assert np.abs(others[..., :1] - moved).mean() < near and np.abs(others[..., 1:] - moved / 2).mean() < near
    assert moved.shape != images.shape or np.abs(moved - images).mean() > near


@pytest.mark.parametrize(
    ("name", "step"),
    [
        (f"{OWN}.brightness_contrast", samples.brightness_contrast()),
        (f"{GEOMETRY}.normalize", geometry.normalize(mean=0.5, std=0.5)),
        ("albumentations.RandomBrightnessContrast", albumentations.RandomBrightnessContrast(p=1)),
        ("torchvision.transforms.v2.ColorJitter", v2.ColorJitter(brightness=(0.2, 0.4))),
    ],
)
def test_colours_change_in_images_only(name: str, step: Any) -> None:
    images = np.random.default_rng(0).random((6, 8, 8, 3)).astype(np.float32)
    changed, targets = apply([adapt(name, step)], images, images, SEEDS)
    assert np.array_equal(targets, images) and not np.allclose(changed, images)


def test_colours_of_targets_where_they_are_asked_for() -> None:
    images = np.random.default_rng(0).random((6, 8, 8, 3)).astype(np.float32)
    name = f"{GEOMETRY}.normalize"
    for on, which in (("images", (1, 0)), ("targets", (0, 1)), ("both", (1, 1))):
        step = adapt(name, geometry.normalize(mean=0.5, std=0.25, on=on))  # type: ignore[arg-type]
        found = apply([step], images, images, SEEDS)
        for values, is_changed in zip(found, which, strict=True):
            assert np.allclose(values, (images - 0.5) / 0.25 if is_changed else images)


def test_what_says_nothing_of_targets_is_refused() -> None:
    with pytest.raises(DataError, match="does not say what happens to targets"):
        adapt("x", v2.Compose([v2.RandomHorizontalFlip()]))
    with pytest.raises(DataError, match="does not say what happens to targets"):
        adapt("mlpipe.mine", lambda images, seeds: images)
    with pytest.raises(DataError, match="Normalize does not belong here"):
        adapt("x", albumentations.Normalize())
