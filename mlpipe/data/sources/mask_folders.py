"""Images and masks in up to four separate folders: training images, training masks, test images and test masks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from mlpipe.data.sources.listings.image_pairs import Names, pairs_in_parts
from mlpipe.data.sources.listings.pixel_rules import PixelSettings
from mlpipe.data.sources.source import finished
from mlpipe.data.sources.targets.masked_pairs import MaskedImages, Reading, of_pairs
from mlpipe.data.task import Task
from mlpipe.errors import DataError, problem


def mask_folders(
    *,
    train: str | None = None,
    train_masks: str | None = None,
    test: str | None = None,
    test_masks: str | None = None,
    mask_suffix: str = "",
    pairing: Literal["name", "order"] = "name",
    classes: list[str] | None = None,
    values: list[int] | None = None,
    ignore_index: Annotated[int, ">= 0", "<= 65535"] | None = None,
    channels: Literal[1, 3, 4] | None = None,
    bits: Literal[8, 16] | None = None,
    value_range: tuple[float, float] | None = None,
    background: Literal["white", "black"] = "white",
    strict: bool = False,
    name: str | None = None,
    max_unreadable: Annotated[int, ">= 0"] = 0,
    allow_overlap: bool = False,
    data_dir: str | None = None,
) -> Task:
    """Images anywhere below two folders, each with a mask below the mask folder of its part.

    Args:
        train: The folder (or archive) of the training images.
        train_masks: The folder of the training masks.
        test: The folder (or archive) of the test images.
        test_masks: The folder of the test masks; None: test images have no masks and are only predicted.
        mask_suffix: As for `masks`.
        pairing: As for `masks`.
        classes: As for `masks`; needed if there are no masks at all.
        values: As for `masks`.
        ignore_index: As for `masks`.
        channels: As for `folder`, for the images.
        bits: As for `folder`, for the images.
        value_range: As for `folder`, for the images.
        background: As for `folder`, for the images.
        strict: Refuse files that are not images instead of skipping them.
        name: The task's name before the hash; None: the first folder's name.
        max_unreadable: As for `folder`.
        allow_overlap: As for `folder`.
        data_dir: As for `folder`.

    Raises:
        DataError: If folders are missing, and with one sentence for each image without mask, mask without image, unequal
            size and unknown value.
    """
    parts = pairs_in_parts(
        {"train": train, "test": test},
        {"train": train_masks, "test": test_masks},
        Names(mask_suffix, pairing),
        strict=strict,
        data_dir=data_dir,
    )
    _require_masks(parts.source, train_masks, classes, bool(parts.roots))
    root = Path(os.path.commonpath(parts.roots)) if parts.roots else parts.first
    reading = Reading(classes, values, ignore_index, PixelSettings(channels, bits, value_range, background))
    images = MaskedImages(parts.first, root, parts.pairs, parts.notes())
    new_task = of_pairs(images, parts.ids, name or parts.first.name, parts.source, reading, data_dir=data_dir)
    return finished(new_task, allow_overlap)


def _require_masks(source: dict[str, Any], train_masks: str | None, classes: list[str] | None, has_masks: bool) -> None:
    """Require masks for training images, and classes.

    Raises:
        DataError: If something is missing.
    """
    if "train" in source and train_masks is None:
        raise DataError(problem("task.train_masks", "a folder is needed", fix="add task.train_masks=DIR"))
    if not has_masks and classes is None:
        fix = "name them with task.classes=[...], in the order of the network's maps"
        raise DataError(problem("task.classes", "are needed where there are no masks", fix=fix))
