"""Inpainting: random patches are cut from inputs, and targets hold only the patches (context encoders, Pathak et al. 2016)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from mlpipe.data.augment.samples import PIPELINE, Batch, Images, Seeds, uniform
from mlpipe.errors import DataError, counted, problem


@dataclass(frozen=True)
class RandomPatches:
    """Patches that are drawn anew in every epoch of training, and are the same for a sample in every evaluation.

    Attributes:
        number: The number of patches that are cut from an image.
        size: The height and width of a patch in pixels.
    """

    number: int
    size: int

    def __call__(self, images: Images, targets: Images, seeds: Seeds) -> tuple[Images, Images]:
        """Return images without their patches, and the patches without the rest; missing pixels are zero.

        Args:
            images: A batch (n, height, width, channels), or a list of images of several sizes.
            targets: The targets to replace; their values do not matter.
            seeds: One for each sample, shape (n,).

        Raises:
            DataError: If an image is smaller than a patch, or targets have other channels.
        """
        inputs, patches = list[Batch](), list[Batch]()
        for place, (image, target) in enumerate(zip(images, targets, strict=True)):
            if target.shape[2] != image.shape[2]:
                wrong = f"random_patches makes targets of {counted(image.shape[2], 'channel')}, the task's have {target.shape[2]}"
                fix = "leave the targets out (task.train_targets=null): images are their own"
                raise DataError(problem(PIPELINE, wrong, fix=fix))
            inside = self.inside(image.shape[0], image.shape[1], seeds[place : place + 1])[:, :, np.newaxis]
            nothing = np.zeros((), image.dtype)
            inputs.append(np.where(inside, nothing, image))
            patches.append(np.where(inside, image, nothing))
        if isinstance(images, np.ndarray):
            return np.stack(inputs), np.stack(patches)
        return inputs, patches

    def inside(self, height: int, width: int, seed: Seeds) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """Return a mask of an image's patches, shape (height, width); patches may overlap.

        Args:
            height: The image's height.
            width: The image's width.
            seed: The seed of the sample, shape (1,).

        Raises:
            DataError: If the image is smaller than a patch.
        """
        if min(height, width) < self.size:
            wrong = f"random_patches of {self.size} pixels do not fit into an image of {width} x {height}"
            raise DataError(problem(PIPELINE, wrong, fix="use a smaller size"))
        mask = np.zeros((height, width), bool)
        for number in range(self.number):
            top = int(uniform(seed, 2 * number)[0] * (height - self.size + 1))
            left = int(uniform(seed, 2 * number + 1)[0] * (width - self.size + 1))
            mask[top : top + self.size, left : left + self.size] = True
        return mask


def random_patches(*, number: Annotated[int, ">= 1"], size: Annotated[int, ">= 1"]) -> RandomPatches:
    """Cut square patches out of images; the targets are the patches alone. For tasks whose targets are images.

    Patches are drawn from seed, fold, epoch and sample. In evaluation, images with a target also lose patches, the same ones
    for every epoch and fold, because scores would otherwise be meaningless; images without a target stay whole.

    Args:
        number: The number of patches.
        size: The height and width of a patch in pixels.
    """
    return RandomPatches(number, size)
