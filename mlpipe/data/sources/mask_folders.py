"""Training images and masks in two folders, test images and masks in two others: four folders, wherever they lie."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from mlpipe.data.sources.class_folders import finished, opened
from mlpipe.data.sources.labelled_folders import images_in
from mlpipe.data.sources.masks import Found, Names, Pair, Reading, of_pairs, paired
from mlpipe.data.task import Part, Task
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
    strict: bool = False,
    name: str | None = None,
    max_unreadable: Annotated[int, ">= 0"] = 0,
    allow_overlap: bool = False,
    data_dir: str | None = None,
) -> Task:
    """Images anywhere below two folders, each with a mask below the folder of its part's masks.

    Args:
        train: The folder (or archive) of the training images.
        train_masks: That of their masks.
        test: The folder (or archive) of the test images.
        test_masks: That of their masks; None: they have none, and can be predicted only.
        mask_suffix: As for `masks`.
        pairing: As for `masks`.
        classes: As for `masks`; needed where there are no masks at all.
        values: As for `masks`.
        ignore_index: As for `masks`.
        channels: As for `folder`, of the images.
        bits: As for `folder`, of the images.
        strict: Refuse files that are no images in place of passing over them.
        name: The task's name before the hash; None takes the first folder's.
        max_unreadable: As for `folder`.
        allow_overlap: As for `folder`.
        data_dir: As for `folder`.

    Raises:
        DataError: When folders are missing, and with a sentence for each image without mask, mask without image, unequal
            size and unknown value.
    """
    pairs, ids = list[Pair](), list[str]()
    source: dict[str, Any] = {"type": "folders"}
    mask_roots = list[Path]()
    given: list[tuple[Part, str | None, str | None]] = [("train", train, train_masks), ("test", test, test_masks)]
    for part, images, masks in given:
        if images is None:
            continue
        base = opened(images, data_dir, f"task.{part}")
        source[part] = str(base)
        files = images_in(base, f"task.{part}", strict)
        if masks is not None:
            mask_roots.append(opened(masks, data_dir, f"task.{part}_masks"))
            images_in(mask_roots[-1], f"task.{part}_masks", strict)
            own = paired(base, mask_roots[-1], Names(mask_suffix, pairing), part)
        else:
            own = [Pair(file, None, "unlabelled") for file in files]
        pairs += own
        ids += [f"{part}/{pair.image.relative_to(base).as_posix()}" for pair in own]
    _demand(source, train_masks, classes, bool(mask_roots))
    first = Path(source.get("train") or source["test"])
    root = Path(os.path.commonpath(mask_roots)) if mask_roots else first
    reading = Reading(classes, values, ignore_index, channels, bits)
    made = of_pairs(Found(first, root, pairs), ids, name or first.name, source, reading, data_dir=data_dir)
    return finished(made, allow_overlap)


def _demand(source: dict[str, Any], train_masks: str | None, classes: list[str] | None, has_masks: bool) -> None:
    """Demand images, masks of those that are learned, and classes.

    Raises:
        DataError: When something is missing.
    """
    if "train" not in source and "test" not in source:
        raise DataError(problem("task.train", "a folder is needed", fix="add task.train=DIR"))
    if "train" in source and train_masks is None:
        raise DataError(problem("task.train_masks", "a folder is needed", fix="add task.train_masks=DIR"))
    if not has_masks and classes is None:
        fix = "name them with task.classes=[...], in the order of the network's maps"
        raise DataError(problem("task.classes", "are needed where there are no masks", fix=fix))
