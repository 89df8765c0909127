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


FILLING: list[tuple[str, Any]] = [
    ("torchvision.transforms.v2.RandomRotation", v2.RandomRotation(40, fill=7)),
    ("torchvision.transforms.v2.Pad", v2.Pad(4, fill=(7, 8, 9))),
    (
        "torchvision.transforms.v2.Compose",
        v2.Compose([v2.RandomApply([v2.RandomAffine(40, fill=7)], p=1.0), v2.RandomHorizontalFlip()]),
    ),
]


@pytest.mark.parametrize(("name", "transform"), FILLING, ids=lambda value: value if isinstance(value, str) else "")
def test_what_images_are_filled_with_is_no_class(name: str, transform: Any) -> None:
    images, masks, seeds = samples()
    moved, labels = paired.apply([paired.adapt(name, transform)], images, masks, seeds)
    # No image has the number that its first channel is filled with: all are multiples of 3.
    outside = np.asarray(moved)[..., 0] == 7
    assert outside.any()
    assert (np.asarray(labels)[..., 0][outside] == IGNORED).all()
    assert (np.asarray(moved)[~outside][:, 0] == np.asarray(labels)[~outside][:, 0] * 3).all()


def test_a_function_among_transforms_of_torchvision_is_left_as_it_is() -> None:
    images, masks, seeds = samples()
    flipped = v2.Compose([lambda *pair: pair, v2.RandomHorizontalFlip(1.0)])
    moved, labels = paired.apply([paired.adapt("torchvision.transforms.v2.Compose", flipped)], images, masks, seeds)
    assert (np.asarray(moved) == np.asarray(images)[:, :, ::-1]).all()
    assert (np.asarray(labels) == np.asarray(masks)[:, :, ::-1]).all()


@pytest.mark.parametrize(("fill", "label"), [(0, IGNORED), (3, 3), (IGNORED, IGNORED)])
def test_masks_are_filled_with_the_class_that_a_transform_names(fill: int, label: int) -> None:
    images, masks, seeds = samples()
    pad = albumentations.Pad(padding=4, fill=0, fill_mask=fill)
    step = paired.adapt("albumentations.Pad", pad)
    # The same object, once more.
    again = paired.adapt("albumentations.Compose", albumentations.Compose([pad]))
    for each in (step, again):
        moved, labels = paired.apply([each], images, masks, seeds)
        assert np.array_equal(np.asarray(labels)[:, 4:-4, 4:-4], masks) and np.asarray(moved)[:, :4].max() == 0
        assert (np.asarray(labels)[:, :4] == label).all() and (np.asarray(labels)[:, :, -4:] == label).all()


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


HOME_OF_CHOICES = "mlpipe.data.augment.random_choices"
FLIPS = [
    [{"_target_": "albumentations.HorizontalFlip", "p": 1.0}],
    [{"_target_": "albumentations.VerticalFlip", "p": 1.0}],
]
AFFINE = {
    "_target_": "albumentations.Affine",
    "interpolation": 0,
    "p": 1.0,
    "translate_px": {"x": [-6, 6], "y": [-6, 6]},
}
BORDERS = [[{**AFFINE, "border_mode": mode}] for mode in (1, 2, 4)]
CHOICES: list[tuple[str, dict[str, Any]]] = [
    ("some_of", {"pipelines": FLIPS}),
    ("some_of", {"pipelines": FLIPS, "least": 0, "most": None}),
    ("some_of", {"pipelines": [[*FLIPS[0], AFFINE]], "p": 0.5, "otherwise": FLIPS[1]}),
    ("some_of", {"pipelines": BORDERS}),
    ("some_of", {"pipelines": [[{"_target_": f"{HOME_OF_CHOICES}.some_of", "pipelines": FLIPS}]], "p": 0.5}),
    ("with_drawn", {"transform": AFFINE, "ranges": {"fill": [0.0, 0.0]}}),
]


@pytest.mark.parametrize(("name", "options"), CHOICES)
def test_what_is_drawn_for_an_image_is_drawn_for_its_mask(name: str, options: dict[str, Any]) -> None:
    """As in imgaug, whose draws are of both: every pixel keeps its class, and images change as they do alone."""
    images, masks, seeds = samples(60)
    step = getattr(random_choices, name)(**options)
    moved, labels = paired.apply([paired.adapt(f"{HOME_OF_CHOICES}.{name}", step)], images, masks, seeds)
    assert isinstance(moved, np.ndarray)
    assert isinstance(labels, np.ndarray)
    counts = labels[..., 0] != IGNORED
    assert (moved[counts][:, 0] == labels[counts][:, 0] * 3).all() and (moved[~counts] == 0).all()
    assert (moved != images).any() and counts.mean() > 0.6
    # What reflects, or is turned over, leaves no pixel without a class.
    assert counts.all() or "Affine" in str(options)
    assert np.array_equal(moved, augmentations.apply([step], images, seeds))


def test_a_mask_of_numbers_moves_as_the_planes_of_its_classes_do() -> None:
    rows, columns = np.mgrid[:40, :40]
    masks = ((rows // 8 + columns // 10) % 3).astype(np.uint8)[None, :, :, None].repeat(20, axis=0)
    turns = [
        [{"_target_": "albumentations.Affine", "rotate": [-30.0, 30.0], "border_mode": mode, "p": 1.0}]
        for mode in (1, 4)
    ]
    step = random_choices.some_of(pipelines=turns)
    pair = paired.adapt(f"{HOME_OF_CHOICES}.some_of", step)
    seeds = np.arange(20, dtype=np.uint64)
    _, whole = paired.apply([pair], masks, masks, seeds)
    planes = [paired.apply([pair], masks, (masks == number).astype(np.uint8), seeds)[1] for number in range(3)]
    assert np.array_equal(whole, sum(number * plane for number, plane in enumerate(planes)))
    assert (np.asarray(whole) != masks).any()


def test_colours_inside_of_a_choice_leave_masks_alone() -> None:
    images, masks, seeds = samples()
    recolour = {"_target_": f"{HOME_OF_CHOICES}.linear_contrast", "alpha": [0.4, 0.4]}
    pair = paired.adapt(f"{HOME_OF_CHOICES}.some_of", random_choices.some_of(pipelines=[[recolour]]))
    moved, labels = paired.apply([pair], images, masks, seeds)
    assert np.array_equal(labels, masks) and not np.array_equal(moved, images)


def test_target_images_go_through_the_choices_of_their_images() -> None:
    images, _, seeds = samples()
    step = random_choices.some_of(pipelines=[*FLIPS, [AFFINE]])
    pair = paired.adapt(f"{HOME_OF_CHOICES}.some_of", step, of_images=True)
    moved, targets = paired.apply([pair], images, images // 3, seeds, of_images=True)
    assert np.array_equal(np.asarray(moved), np.asarray(targets) * 3) and not np.array_equal(moved, images)


def test_a_choice_of_what_masks_cannot_be_put_through_is_refused() -> None:
    normalize = random_choices.some_of(pipelines=[FLIPS[0]])
    object.__setattr__(normalize, "pipelines", [[{"_target_": "albumentations.Normalize"}]])
    with pytest.raises(DataError, match="does not belong here"):
        paired.adapt(f"{HOME_OF_CHOICES}.some_of", normalize)


def test_a_step_that_says_nothing_of_masks_is_refused() -> None:
    with pytest.raises(DataError, match="does not say what happens to masks"):
        paired.adapt("mine.turn", lambda images, seeds: images)
    with pytest.raises(DataError, match="does not belong here"):
        paired.adapt("albumentations.Normalize", albumentations.Normalize())
