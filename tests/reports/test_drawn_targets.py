"""Masks drawn on samples: in the colours of their classes, at their own pixels, also after random changes and in variants."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlpipe.data import sources
from mlpipe.data.augment.samples import horizontal_flip, random_crop
from mlpipe.data.preprocessing import standard
from mlpipe.data.sources.targets.mask_files import colour_of
from mlpipe.data.task import IGNORED, Task
from mlpipe.reports import drawn_targets
from mlpipe.reports.sections import masks


@pytest.fixture
def task(tmp_path: Path) -> Task:
    """Four grey images of 8 x 12 pixels; the mask of image i is foreground in rows 1 and 2 and columns 1 to i + 1."""
    for folder in ("images", "masks"):
        (tmp_path / "d" / folder).mkdir(parents=True)
    for number in range(4):
        mask = np.zeros((8, 12), np.uint8)
        mask[1:3, 1 : number + 2] = 255
        Image.fromarray(np.full((8, 12), 100 + number, np.uint8)).save(tmp_path / f"d/images/{number}.png")
        Image.fromarray(mask).save(tmp_path / f"d/masks/{number}.png")
    return sources.masks(root=str(tmp_path / "d"), name="t")


def expected(number: int) -> np.ndarray:
    """The image with the mean of its grey and the colour of the foreground in its mask."""
    pixels = np.full((8, 12, 3), 100 + number)
    pixels[1:3, 1 : number + 2] = (100 + number + np.array(colour_of(1))) // 2
    return pixels


def test_a_sample_has_its_mask(task: Task) -> None:
    drawing, read = drawn_targets.of_task(task), sources.reader(task, task.channels)
    assert drawing is not None
    for row in range(4):
        assert np.array_equal(drawing(read(row), row), expected(row))


def test_a_sample_of_a_variant_has_its_own_mask(task: Task) -> None:
    variant = replace(task, bases=(task,), samples=task.samples.only(np.array([3, 1])))
    drawing, read = drawn_targets.of_task(variant), sources.reader(variant, variant.channels)
    assert drawing is not None and len(variant.samples) == 2
    for row, name in enumerate(variant.samples.ids):
        assert np.array_equal(drawing(read(row), row), expected(int(name[0])))


def test_masks_move_with_their_images_and_pixels_from_outside_have_no_class(task: Task) -> None:
    preprocessing, rows, seeds = standard(1, id="a", size=[8, 12]), np.arange(4), np.arange(4, dtype=np.uint64)
    images = np.stack([preprocessing(sources.reader(task, 1)(row)) for row in rows])
    flip = ("mlpipe.data.augment.samples.horizontal_flip", horizontal_flip(p=1.0))
    drawn = drawn_targets.augmented(task, rows, images, preprocessing, [flip], seeds)
    for row in range(4):
        assert np.array_equal(drawn[row], expected(row)[:, ::-1])
    crop = ("mlpipe.data.augment.samples.random_crop", random_crop(padding=0.5))
    for number, pixels in enumerate(drawn_targets.augmented(task, rows, images, preprocessing, [crop], seeds)):
        # What lies outside is black under the grey of pixels that do not count.
        outside = (pixels == 64).all(axis=2)
        assert {tuple(value) for value in pixels[~outside]} <= {
            tuple(value) for value in expected(number).reshape(-1, 3)
        }
        assert outside.any()


def test_a_mask_in_another_resolution_covers_its_image_and_ignored_pixels_are_grey() -> None:
    mask = np.array([[[0], [1]], [[2], [IGNORED]]], np.uint8)
    drawn = masks.image_with_mask(np.zeros((4, 4, 3), np.uint8), mask)
    quarters = [(0, 0, 0), *(tuple(value // 2 for value in colour_of(number)) for number in (1, 2)), (64, 64, 64)]
    assert [tuple(drawn[row, column]) for row in (0, 2) for column in (0, 2)] == quarters
    assert np.array_equal(drawn[::2, ::2], drawn[1::2, 1::2])


def test_targets_without_a_place_are_not_drawn(tmp_path: Path) -> None:
    for number in range(4):
        path = tmp_path / "c" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), number, np.uint8)).save(path)
    assert drawn_targets.of_task(sources.folder(root=str(tmp_path / "c"))) is None
