"""Boxes move as the pixels under them do: painted boxes are looked for in the changed images."""

from __future__ import annotations

import importlib
import pickle
from typing import Any

import albumentations
import numpy as np
import pytest
from torchvision.transforms import v2

from mlpipe.data.augment import boxed, random_choices, samples
from mlpipe.errors import DataError

HOME = "mlpipe.data.augment."
OWN: list[tuple[str, dict[str, Any], float]] = [
    ("samples.random_crop", {"padding": 0.2}, 0),
    ("samples.random_resized_crop", {"size": 64, "scale": (0.3, 1.0)}, 0.51),
    ("samples.horizontal_flip", {}, 0),
    ("samples.vertical_flip", {"p": 1.0}, 0),
    ("samples.alternating_flip", {}, 0),
    ("geometry.random_flips", {}, 0),
    ("geometry.random_flips", {"axes": [0]}, 0),
    ("geometry.resize", {"size": (100, 50)}, 0.51),
    ("geometry.center_crop", {"size": (60, 41)}, 0),
    ("geometry.jitter_crop", {"most": 0.4}, 0),
    ("geometry.random_zoom", {"most": 0.4}, 0.51),
    ("geometry.rotate", {"degrees": 90}, 0),
    ("geometry.random_rotate", {"degrees": 3}, 0.75),
    ("samples.brightness_contrast", {"brightness": 0.1, "contrast": 0.1}, 0),
]
# The corner of a turned box is one pixel, which is half painted.
OTHERS: list[tuple[Any, float]] = [
    (albumentations.HorizontalFlip(), 0),
    (albumentations.RandomCrop(40, 40), 0),
    (albumentations.D4(), 0),
    (albumentations.Affine(scale=(0.8, 1.2), rotate=(-3, 3), p=1.0), 0.75),
    (albumentations.Compose([albumentations.Transpose(p=1.0), albumentations.RandomBrightnessContrast(0.1, 0.1)]), 0),
    (albumentations.RandomBrightnessContrast(0.1, 0.1), 0),
    (v2.RandomHorizontalFlip(), 0),
    (v2.RandomCrop(40), 0),
    (v2.RandomAffine(3, (0.1, 0.1)), 0.75),
    (v2.RandomRotation((90, 90), expand=True), 0),
    (v2.RandomIoUCrop(), 0),
    (v2.RandomZoomOut(), 0),
    (v2.Resize((33, 55)), 0.6),
    (v2.Compose([v2.RandomCrop(40), v2.ColorJitter(0.1)]), 0),
    (v2.Compose([v2.ConvertBoundingBoxFormat("CXCYWH"), v2.RandomVerticalFlip(1.0)]), 0),
    (v2.ConvertBoundingBoxFormat("XYWH"), 0),
    (v2.Pad((3, 7)), 0),
    (albumentations.PadIfNeeded(100, 100), 0),
    (albumentations.RandomSizedBBoxSafeCrop(40, 40), 0.51),
]


def painted(height: int, width: int, many: int = 20) -> tuple[Any, list[Any], Any]:
    """Black images with a white box in each, the boxes with two columns more, and seeds."""
    draws = np.random.default_rng(1)
    images, boxes = np.zeros((many, height, width, 3), np.uint8), []
    for number, image in enumerate(images):
        x, y = draws.integers(0, width - 12), draws.integers(0, height - 12)
        right, bottom = min(x + draws.integers(8, 30), width), min(y + draws.integers(8, 30), height)
        image[y:bottom, x:right] = 255
        boxes.append(np.array([[x, y, right, bottom, 7.0, number]]))
    return images, boxes, draws.integers(0, 2**63, many).astype(np.uint64)


def differences(step: Any, height: int = 61, width: int = 83) -> tuple[float, int]:
    """The largest distance of a side of a box from what is white in the changed images, and how many boxes are left."""
    images, boxes, seeds = painted(height, width)
    changed, moved = boxed.apply([step], images, boxes, seeds)
    largest, left = 0.0, 0
    for number, (image, own) in enumerate(zip(changed, moved, strict=True)):
        if not len(own):
            continue
        rows, columns = np.nonzero(image[:, :, 0] > 127)
        there = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        largest, left = max(largest, float(abs(own[0, :4] - there).max())), left + 1
        assert own[0, 4:].tolist() == [7, number]
    return largest, left


@pytest.mark.parametrize(("name", "parameters", "most"), OWN, ids=lambda one: one if isinstance(one, str) else "")
def test_boxes_follow_our_steps(name: str, parameters: dict[str, Any], most: float) -> None:
    module, _, function = name.partition(".")
    transform = getattr(importlib.import_module(HOME + module), function)(**parameters)
    # Loader processes that are not forked get a step pickled.
    largest, left = differences(pickle.loads(pickle.dumps(boxed.adapt(HOME + name, transform))))
    assert largest <= most + 1e-4
    assert left >= 10


@pytest.mark.parametrize("sides", [(64, 64), (64, 83)])
def test_boxes_follow_quarter_turns_of_squares(sides: tuple[int, int]) -> None:
    step = boxed.adapt(HOME + "samples.rotate90", samples.rotate90())
    if sides[0] == sides[1]:
        assert differences(step, *sides) == (0, 20)
    else:
        with pytest.raises(DataError, match="rotate90 takes square images"):
            differences(step, *sides)


@pytest.mark.parametrize(("transform", "most"), OTHERS, ids=lambda one: type(one).__name__)
def test_boxes_follow_transforms_of_libraries(transform: Any, most: float) -> None:
    largest, left = differences(pickle.loads(pickle.dumps(boxed.adapt(type(transform).__module__, transform))))
    assert largest <= most + 1e-4
    assert left >= 4


@pytest.mark.parametrize("transform", [albumentations.RandomCrop(40, 40), v2.RandomCrop(40), v2.RandomIoUCrop()])
def test_images_without_boxes_go_through(transform: Any) -> None:
    images, _, seeds = painted(61, 83)
    nothing = [np.empty((0, 5))] * len(images)
    _, moved = boxed.apply([boxed.adapt(type(transform).__module__, transform)], images, nothing, seeds)
    assert all(own.shape == (0, 5) for own in moved)


@pytest.mark.parametrize("transform", [albumentations.Affine(rotate=(-90, 90)), v2.RandomAffine(90)])
def test_a_step_is_the_same_in_every_batch_and_process(transform: Any) -> None:
    images, boxes, seeds = painted(61, 83)
    step = boxed.adapt(type(transform).__module__, transform)
    whole = boxed.apply([step], images, boxes, seeds)
    single = boxed.apply([pickle.loads(pickle.dumps(step))], images[3:4], boxes[3:4], seeds[3:4])
    assert np.array_equal(whole[0][3], single[0][0])
    assert np.array_equal(whole[1][3], single[1][0])


@pytest.mark.parametrize(
    "pipelines",
    [
        [
            [{"_target_": "albumentations.HorizontalFlip", "p": 1.0}],
            [{"_target_": "albumentations.VerticalFlip", "p": 1.0}],
        ],
        [[{"_target_": "albumentations.Affine", "translate_px": (-9, 9), "p": 1.0}], []],
    ],
)
def test_boxes_go_through_what_is_drawn_for_their_images(pipelines: Any) -> None:
    name = "mlpipe.data.augment.random_choices.some_of"
    off, left = differences(boxed.adapt(name, random_choices.some_of(pipelines=pipelines)))
    assert off < 1e-4 and left >= 18


def test_what_is_left_of_a_box_is_clipped_and_small_rests_are_dropped() -> None:
    boxes = np.array(
        [[-5, 2, 5, 12, 0], [-9, 2, 1, 12, 1], [-8, 2, 2, 12, 2], [19.5, 0, 22, 10, 3], [3, 3, 3.5, 30, 4]]
    )
    left = boxed.clipped(boxes, height=20, width=20)
    # Half of the first is left, a tenth of the second, a fifth of the third; the others are too narrow.
    assert left.tolist() == [[0, 2, 5, 12, 0], [0, 2, 2, 12, 2]]


def test_a_turned_box_becomes_the_upright_one_around_it() -> None:
    turn = np.array([[0.5**0.5, -(0.5**0.5), 0], [0.5**0.5, 0.5**0.5, 0]])
    around = boxed.moved(np.array([[0.0, 0.0, 2.0, 2.0, 9.0]]), turn)
    assert np.allclose(around, [[-(2**0.5), 0, 2**0.5, 8**0.5, 9]])


@pytest.mark.parametrize(
    ("target", "transform", "message"),
    [
        ("mine.turn", lambda images, seeds: images, "does not say what happens to boxes"),
        ("torchvision.transforms.v2.Normalize", v2.Normalize([0.5], [0.5]), "Normalize does not belong here"),
        ("albumentations.Compose", albumentations.Compose([albumentations.RandomGridShuffle()]), "tears objects apart"),
        ("albumentations.Normalize", albumentations.Normalize(), "Normalize does not belong here"),
    ],
)
def test_steps_that_do_not_move_boxes_are_refused(target: str, transform: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        boxed.adapt(target, transform)


def test_a_transform_that_takes_no_boxes_is_refused_when_it_gets_some() -> None:
    images, boxes, seeds = painted(61, 83)
    with pytest.raises(DataError, match="RandAugment cannot take images"):
        boxed.apply([boxed.adapt("torchvision.transforms.v2.RandAugment", v2.RandAugment())], images, boxes, seeds)
