"""Masks move as their images do: wherever a pixel goes, its class goes too, and what comes from outside counts nowhere."""

from __future__ import annotations

from typing import Any

import albumentations
import numpy as np
import pytest
from torchvision.transforms import v2

from mlpipe.data.augment import geometry, paired, random_choices
from mlpipe.data.augment import samples as augmentations
from mlpipe.data.task import IGNORED
from mlpipe.errors import DataError

HOME = "mlpipe.data.augment.samples"


def samples(n: int = 16, size: int = 20) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images whose pixels are three times their own class, 1 to 80, so that each one tells its class."""
    masks = np.random.default_rng(0).integers(1, 80, (n, size, size, 1), dtype=np.uint8)
    return np.repeat(masks * 3, 3, axis=3), masks, np.arange(n, dtype=np.uint64) * 977 + 5


MOVING: list[tuple[str, Any]] = [
    (f"{HOME}.random_crop", augmentations.random_crop(padding=0.3)),
    (f"{HOME}.horizontal_flip", augmentations.horizontal_flip()),
    (f"{HOME}.vertical_flip", augmentations.vertical_flip()),
    (f"{HOME}.alternating_flip", augmentations.alternating_flip()),
    (f"{HOME}.rotate90", augmentations.rotate90()),
    ("albumentations.D4", albumentations.D4(p=1.0)),
    ("albumentations.RandomCrop", albumentations.RandomCrop(height=12, width=12)),
    ("albumentations.Affine", albumentations.Affine(translate_px=(-5, 5), interpolation=0, p=1.0)),
    ("torchvision.transforms.v2.RandomHorizontalFlip", v2.RandomHorizontalFlip(0.5)),
    ("torchvision.transforms.v2.RandomCrop", v2.RandomCrop(20, padding=6)),
]


@pytest.mark.parametrize(("name", "transform"), MOVING, ids=lambda value: value if isinstance(value, str) else "")
def test_pixels_keep_their_class(name: str, transform: Any) -> None:
    images, masks, seeds = samples()
    moved, labels = paired.apply([paired.adapt(name, transform)], images, masks, seeds)
    assert isinstance(moved, np.ndarray)
    assert isinstance(labels, np.ndarray)
    assert moved.shape[:3] == labels.shape[:3]
    assert moved.shape != images.shape or (moved != images).any()
    filled = labels[..., 0] == IGNORED
    assert (moved[~filled][:, 0] == labels[~filled][:, 0] * 3).all()
    # Zeros come from outside: no sample has one.
    assert (moved[filled] == 0).all()


def test_windows_of_any_shape_take_the_nearest_pixel() -> None:
    # Left half 10, right half 20: wherever the window lies, the image's edge is where the mask's is, to one pixel.
    masks = np.full((8, 40, 40, 1), 1, np.uint8)
    masks[:, :, 20:] = 2
    step = paired.adapt(f"{HOME}.random_resized_crop", augmentations.random_resized_crop(size=32, scale=(0.3, 0.9)))
    moved, labels = paired.apply([step], masks * 10, masks, np.arange(8, dtype=np.uint64))
    assert isinstance(moved, np.ndarray)
    assert isinstance(labels, np.ndarray)
    assert labels.shape == (8, 32, 32, 1)
    assert set(np.unique(labels).tolist()) == {1, 2}
    assert (np.abs(moved.astype(int) - labels.astype(int) * 10) > 5).mean() < 0.02
    assert ((moved[..., 0] > 15).sum(axis=(1, 2)) > 0).any()


@pytest.mark.parametrize("name", ["brightness_contrast", "random_erasing"])
def test_colours_leave_masks_alone(name: str) -> None:
    images, masks, seeds = samples()
    step = paired.adapt(f"{HOME}.{name}", getattr(augmentations, name)())
    moved, labels = paired.apply([step], images, masks, seeds)
    assert np.array_equal(labels, masks)
    assert not np.array_equal(moved, images)


@pytest.mark.parametrize(
    "step",
    [
        random_choices.dropped_cells(p=(0.5, 0.5)),
        random_choices.edges(alpha=(0.5, 0.5)),
        random_choices.gray(alpha=(1.0, 1.0)),
        random_choices.inverted(),
        random_choices.linear_contrast(alpha=(0.5, 0.5)),
    ],
    ids=["dropped_cells", "edges", "gray", "inverted", "linear_contrast"],
)
def test_single_images_change_and_their_masks_stay(step: Any, request: pytest.FixtureRequest) -> None:
    images, masks, seeds = samples()
    images[..., 1] //= 2
    name = request.node.callspec.id
    changed, kept = paired.adapt(f"mlpipe.data.augment.random_choices.{name}", step)(images, masks, seeds)
    assert (np.asarray(kept) == masks).all() and not (np.asarray(changed) == images).all()


def test_images_change_as_they_do_without_masks() -> None:
    images, masks, seeds = samples()
    steps = [augmentations.random_crop(), augmentations.horizontal_flip(), augmentations.brightness_contrast()]
    names = [f"{HOME}.{name}" for name in ("random_crop", "horizontal_flip", "brightness_contrast")]
    both = [paired.adapt(name, step) for name, step in zip(names, steps, strict=True)]
    moved, _ = paired.apply(both, images, masks, seeds)
    assert np.array_equal(moved, augmentations.apply(steps, images, seeds))


def test_images_of_several_sizes() -> None:
    sizes = [(20, 30), (25, 18)]
    masks = [np.random.default_rng(1).integers(1, 80, (*size, 1), dtype=np.uint8) for size in sizes]
    images = [mask * 3 for mask in masks]
    step = paired.adapt("albumentations.D4", albumentations.HorizontalFlip(p=1.0))
    moved, labels = paired.apply([step], images, masks, np.arange(2, dtype=np.uint64))
    assert all(np.array_equal(one, other * 3) for one, other in zip(moved, labels, strict=True))
    assert np.array_equal(labels[0], masks[0][:, ::-1])


GEOMETRY: list[tuple[str, Any]] = [
    ("resize", geometry.resize(size=(30, 26))),
    ("center_crop", geometry.center_crop(size=(14, 10))),
    ("jitter_crop", geometry.jitter_crop(most=0.5)),
    ("random_zoom", geometry.random_zoom(most=0.5)),
    ("rotate", geometry.rotate(degrees=30)),
    ("random_rotate", geometry.random_rotate(degrees=40)),
]


@pytest.mark.parametrize(("name", "step"), GEOMETRY, ids=lambda value: value if isinstance(value, str) else "")
def test_steps_of_geometry_move_masks_as_images_and_mix_no_values(name: str, step: Any) -> None:
    # A disc, off the middle: linear and nearest pixels differ at its edge only, wherever it goes.
    rows, columns = np.mgrid[:60, :80]
    masks = np.repeat((((rows - 25) ** 2 + (columns - 45) ** 2 < 324) + 1)[None, :, :, None], 9, axis=0).astype(
        np.uint8
    )
    pair = paired.adapt(f"mlpipe.data.augment.geometry.{name}", step)
    moved, labels = paired.apply([pair], masks * 100, masks, np.arange(9, dtype=np.uint64))
    for image, mask in zip(moved, labels, strict=True):
        known = mask[..., 0] != IGNORED
        assert image.shape[:2] == mask.shape[:2] and set(np.unique(mask[known]).tolist()) <= {1, 2}
        inside = known & (image[..., 0] >= 100)
        assert (np.abs(image[inside, 0].astype(int) - 100 * mask[inside, 0]) > 50).mean() < 0.01
        assert known.all() or name.endswith("rotate")
    assert (paired.always([pair]) == [pair]) == (name in ("resize", "center_crop", "rotate"))


def test_colours_of_every_image_leave_masks_alone() -> None:
    images, masks, seeds = samples()
    steps = [geometry.convert_color(code="RGB2BGR"), geometry.normalize(mean=0.5, std=0.5, white=255)]
    names = ["convert_color", "normalize"]
    pairs = [
        paired.adapt(f"mlpipe.data.augment.geometry.{name}", step) for name, step in zip(names, steps, strict=True)
    ]
    moved, labels = paired.apply(pairs, images, masks, seeds)
    assert np.array_equal(labels, masks) and np.array_equal(moved, augmentations.apply(steps, images, seeds))
    assert paired.always(pairs) == pairs


def test_a_step_that_says_nothing_of_masks_is_refused() -> None:
    with pytest.raises(DataError, match="does not say what happens to masks"):
        paired.adapt("mine.turn", lambda images, seeds: images)
    with pytest.raises(DataError, match="does not belong here"):
        paired.adapt("albumentations.Normalize", albumentations.Normalize())
