"""Samples with the targets that have places in them drawn on their pixels: boxes, and the classes of pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mlpipe.data import sources
from mlpipe.data.augment import boxed, libraries, paired, samples
from mlpipe.data.augment.samples import Images, Seeds
from mlpipe.data.preprocessing import Preprocessing
from mlpipe.data.sampling import Rows
from mlpipe.data.sources.targets import boxes, mask_files
from mlpipe.data.sources.targets.boxes import Boxes
from mlpipe.data.task import Task

if TYPE_CHECKING:
    from mlpipe.reports.kind import Draw


@dataclass(frozen=True)
class Drawing:
    """Draws the targets of a task's samples.

    Attributes:
        draw: Draws a target on pixels.
        target: Returns the target of a row: boxes, or class numbers of pixels.
        objects: The boxes of the task; None for pixels.
    """

    draw: Draw
    target: Callable[[int], npt.NDArray[Any]]
    objects: Boxes | None

    def __call__(self, pixels: npt.NDArray[Any], row: int) -> npt.NDArray[np.uint8]:
        """Return a sample with its target, shape (height, width, 3).

        Args:
            pixels: The pixels of the sample as its source reads them.
            row: Its row in the task.

        Raises:
            UnreadableImageError: If its target cannot be read.
            DataError: Likewise.
        """
        return self.draw(pixels, self.target(row))


def of_task(task: Task) -> Drawing | None:
    """Return the drawing of a task; None if its targets have no places in a sample.

    Args:
        task: The task.

    Raises:
        DataError: If its samples may not be read.
    """
    source = sources.open(task)
    if not source.has_objects and not task.samples.masks:
        return None
    # Matplotlib is slow to import; only targets with places need the part of their kind.
    from mlpipe.reports import kind as report_kind

    if (draw := report_kind.of(task.kind).DRAW) is None:
        return None
    if source.has_objects:
        objects = source.objects()
        return Drawing(draw, objects.of_row, objects)
    return Drawing(draw, source.targets(1), None)


def augmented(
    task: Task,
    rows: Rows,
    images: Images,
    preprocessing: Preprocessing,
    transforms: Sequence[tuple[str, Any]],
    seeds: Seeds,
) -> list[npt.NDArray[Any]]:
    """Return samples after random changes, with their targets, which are moved alike, drawn on them.

    Args:
        task: The task.
        rows: Row numbers, shape (n,).
        images: Their preprocessed pixels, each of shape (height, width, channels).
        preprocessing: The preprocessing.
        transforms: The name in the configuration and the object of each change.
        seeds: One for each sample, shape (n,).

    Raises:
        DataError: If a transform does not say what happens to targets, or a target cannot be read.
    """
    drawing = of_task(task)
    if drawing is None:
        return list(samples.apply([libraries.adapt(transform) for _, transform in transforms], images, seeds))
    if drawing.objects is not None:
        own = boxes.seen(drawing.objects, rows, preprocessing, images)
        images, own = boxed.apply([boxed.adapt(*named) for named in transforms], images, own, seeds)
        return [drawing.draw(*pair) for pair in zip(images, own, strict=True)]
    alike = mask_files.preprocessing_of(preprocessing)
    masks = [alike(drawing.target(row)) for row in rows.tolist()]
    sized = np.stack(masks) if isinstance(images, np.ndarray) else paired.of_size(masks, images, "nearest")
    images, sized = paired.apply([paired.adapt(*named) for named in transforms], images, sized, seeds)
    return [drawing.draw(*pair) for pair in zip(images, sized, strict=True)]
