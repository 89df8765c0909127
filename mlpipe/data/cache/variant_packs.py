"""Cache of a task variant: rows of the packs of its base tasks, without copies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe import files
from mlpipe.data.cache.packs import Pack
from mlpipe.data.decoding.images import Pixels
from mlpipe.data.sampling import Rows
from mlpipe.data.task import Task, origins
from mlpipe.errors import DataError, problem


@dataclass(frozen=True)
class JoinedPack(Pack):
    """Rows of one or several packs, presented as one pack.

    Attributes:
        parts: The packs.
        part: The pack of each image, shape (samples,).
        row: The image's row in its pack, shape (samples,).
    """

    parts: tuple[Pack, ...] = ()
    part: Rows = field(default_factory=lambda: np.empty(0, np.int64))
    row: Rows = field(default_factory=lambda: np.empty(0, np.int64))

    def __len__(self) -> int:
        return len(self.row)

    @property
    def ragged(self) -> bool:
        """Return whether images differ in size."""
        return self.parts[0].ragged

    @property
    def rows_key(self) -> str:
        """Return a key that distinguishes these rows from others of the same packs."""
        return files.digest([self.part.tolist(), self.row.tolist(), [part.folder.name for part in self.parts]])

    def take(self, rows: Rows) -> npt.NDArray[Any] | list[Pixels]:
        """Return some images, as `Pack.take` does."""
        if len(self.parts) == 1:
            return self.parts[0].take(self.row[rows])
        index_arrays = [np.flatnonzero(self.part[rows] == number) for number in range(len(self.parts))]
        blocks = [part.take(self.row[rows[indices]]) for part, indices in zip(self.parts, index_arrays, strict=True)]
        order = np.argsort(np.concatenate(index_arrays), kind="stable")
        if self.ragged:
            images = [image for some in blocks for image in some]
            return [images[place] for place in order]
        return np.concatenate(blocks)[order]

    def with_images(self, values: npt.NDArray[Any]) -> Pack:
        """Return the same samples with other values, such as features."""
        return Pack(values, self.unreadable, self.folder, self.preprocessing, values.dtype)


def joined(task: Task, packs: Sequence[Pack]) -> JoinedPack:
    """Return the images of a variant.

    Args:
        task: The variant.
        packs: The pack of each of its `bases`, all made with the same preprocessing.

    Raises:
        DataError: If the packs' images have different sizes.
    """
    first = packs[0]
    for base, pack in zip(task.bases, packs, strict=True):
        if not first.ragged and pack.images.shape[1:] != first.images.shape[1:]:
            sizes = f"{base.name} has images of {' x '.join(map(str, reversed(pack.shape)))} pixels, {task.bases[0].name} others"
            raise DataError(
                problem("preprocessing.size", sizes, fix="choose a size, for example preprocessing.size=224")
            )
    part, row = origins(task)
    reasons = {
        task.samples.ids[place]: reason
        for place, (number, base_row) in enumerate(zip(part.tolist(), row.tolist(), strict=True))
        if (reason := packs[number].unreadable.get(task.bases[number].samples.ids[base_row])) is not None
    }
    masks = [pack.masks for pack in packs if pack.masks is not None]
    of_masks = joined(task, masks) if len(masks) == len(packs) else None
    images = (first.images, reasons, first.folder, first.preprocessing, first.dtype, first.places, of_masks)
    return JoinedPack(*images, tuple(packs), part, row)
