"""Images with images as targets, in separate folders; without targets, each image is its own target (an auto-encoder)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from mlpipe.data import task
from mlpipe.data.sources.error_lists import raise_some
from mlpipe.data.sources.listings import file_headers, pixel_rules
from mlpipe.data.sources.listings.file_headers import Look
from mlpipe.data.sources.listings.image_pairs import InParts, Names, Pair, pairs_in_parts, size_problem
from mlpipe.data.sources.listings.path_groups import groups_of
from mlpipe.data.sources.listings.pixel_rules import PixelSettings
from mlpipe.data.sources.listings.table_rows import relative
from mlpipe.data.sources.source import finished
from mlpipe.data.sources.targets import target_files
from mlpipe.data.task import Row, Task
from mlpipe.errors import DataError, problem


def image_folders(
    *,
    train: str | None = None,
    train_targets: str | None = None,
    test: str | None = None,
    test_targets: str | None = None,
    target_suffix: str = "",
    pairing: Literal["name", "order"] = "name",
    labelled: bool = True,
    group: str | None = None,
    channels: Literal[1, 3, 4] | None = None,
    bits: Literal[8, 16] | None = None,
    target_channels: Literal[1, 3, 4] | None = None,
    value_range: tuple[float, float] | None = None,
    target_value_range: tuple[float, float] | None = None,
    background: Literal["white", "black"] = "white",
    strict: bool = False,
    name: str | None = None,
    max_unreadable: Annotated[int, ">= 0"] = 0,
    allow_overlap: bool = False,
    data_dir: str | None = None,
) -> Task:
    """Images anywhere below two folders, each with a target image below the target folder of its part.

    A target has the size of its image, or is larger by a factor that is the same for all targets.
    Target values are 0 to 1, with 1 for white, and are learned as numbers: auto-encoders, inpainting, denoising.

    Args:
        train: The folder (or archive) of the training images.
        train_targets: The folder of the training targets; None: each image is its own target.
        test: The folder (or archive) of the test images.
        test_targets: The folder of the test targets; None with `train_targets`: test images are only predicted.
        target_suffix: What is appended to an image's name, before the extension, to get its target's name, such as `_clean`.
        pairing: `name`: match by file name; `order`: match in order, images and targets both sorted by path.
        labelled: False: no image has a target; images are only predicted.
        group: A regular expression with one group, as for `folder`.
        channels: As for `folder`, for the images.
        bits: As for `folder`, for images and targets.
        target_channels: As for `channels`, for the targets; not used if images are their own targets.
        value_range: As for `folder`, for the images.
        target_value_range: The target values that become 0 and 1.
        background: As for `folder`, for images and targets.
        strict: Refuse files that are not images instead of skipping them.
        name: The task's name before the hash; None: the first folder's name.
        max_unreadable: As for `folder`, for images and targets.
        allow_overlap: As for `folder`.
        data_dir: As for `folder`.

    Raises:
        DataError: If folders are missing, and with one sentence for each image without target, target without image, and
            unequal size.
    """
    own = labelled and train_targets is None and test_targets is None
    if train is not None and train_targets is None and labelled and not own:
        fix = "add task.train_targets=DIR, or leave task.test_targets out: each image is its own target then"
        raise DataError(problem("task.train_targets", "a folder is needed", fix=fix))
    parts = pairs_in_parts(
        {"train": train, "test": test},
        {"train": train_targets if labelled else None, "test": test_targets if labelled else None},
        Names(target_suffix, pairing, "target"),
        strict=strict,
        data_dir=data_dir,
        alone=None if own else "unlabelled",
    )
    settings = PixelSettings(channels, bits, value_range, background)
    of_targets = PixelSettings(target_channels, bits, target_value_range, background, "task.target_value_range")
    new_task = _unnamed_task(parts, settings, of_targets, name or parts.first.name, group, data_dir)
    return finished(new_task, allow_overlap)


def _unnamed_task(
    parts: InParts,
    settings: PixelSettings,
    of_targets: PixelSettings,
    title: str,
    group: str | None,
    data_dir: str | None,
) -> Task:
    """Return the task before it has its final name."""
    pairs, paths = parts.pairs, [pair.image for pair in parts.pairs]
    looks = file_headers.look(paths, file_headers.memory_file(data_dir, parts.first))
    target_paths = [pair.mask for pair in pairs if pair.mask is not None]
    root = Path(os.path.commonpath(parts.roots)) if target_paths else None
    memory = file_headers.memory_file(data_dir, root, "targets") if root is not None else None
    target_looks = dict(zip(target_paths, file_headers.look(target_paths, memory), strict=True))
    both = _known_sizes(pairs, looks, target_looks)
    scale = target_files.common_scale([sizes for _, _, sizes in both])
    raise_some(_size_problems(both, scale))
    pixels = pixel_rules.format_of(paths, looks, settings)
    if target_paths:
        target_pixels = pixel_rules.format_of(list(target_looks), list(target_looks.values()), of_targets)
        outputs = target_pixels.channels
        targets = target_files.described(
            root, outputs, target_pixels.dtype, scale=scale, decoding=target_pixels.decoding
        )
    else:
        none = not any(pair.part != "unlabelled" for pair in pairs)
        outputs = (of_targets.channels if none else None) or pixels.channels
        targets = target_files.described(None, outputs, pixels.dtype)
    groups, notes = groups_of(parts.ids, group, [pair.part for pair in pairs])
    rows = []
    for place, (pair, look) in enumerate(zip(pairs, looks, strict=True)):
        value = float("nan") if pair.part == "unlabelled" else 1.0
        mask = (
            (relative(pair.mask, root), target_looks[pair.mask].digest) if pair.mask is not None and root else ("", "")
        )
        rows.append(Row(parts.ids[place], pair.part, (value,) * outputs, look.digest, groups[place], mask=mask))
    return task.make(
        title,
        target_files.names_of(outputs),
        rows,
        kind="images",
        channels=pixels.channels,
        dtype=pixels.dtype,
        source={**parts.source, **pixels.source, "targets": targets},
        notes=[*parts.notes(), *notes, *pixels.notes],
    )


def _known_sizes(
    pairs: Sequence[Pair], looks: Sequence[Look], target_looks: dict[Path, Look]
) -> list[tuple[Pair, Look, tuple[tuple[int, int], tuple[int, int]]]]:
    """Return each pair with the height and width of the target and of the image."""
    entries = []
    for pair, look in zip(pairs, looks, strict=True):
        target = target_looks.get(pair.mask) if pair.mask is not None else None
        # Unreadable files are reported when they are decoded.
        if target is None or not (look.channels and target.channels):
            continue
        entries.append((pair, look, ((target.height, target.width), (look.height, look.width))))
    return entries


def _size_problems(
    both: Sequence[tuple[Pair, Look, tuple[tuple[int, int], tuple[int, int]]]], scale: target_files.Scale
) -> list[str]:
    """Return a sentence for each target whose scale factor differs from that of the others."""
    fix = target_files.in_words(scale)
    return [
        size_problem(pair, look, target[1], target[0], fix)
        for pair, look, (target, image) in both
        if not target_files.has_scale(target, image, scale)
    ]
