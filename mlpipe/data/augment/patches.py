"""Inpainting: random patches cut from inputs, and alone in the targets (context encoders, Pathak et al. 2016)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from mlpipe.data.augment.samples import PIPELINE, Batch, Images, Seeds, uniform
from mlpipe.errors import DataError, counted, problem


@dataclass(frozen=True)
class RandomPatches:
    """The step: drawn anew in every epoch, and in evaluation the same for a sample each time.

    Attributes:
        number: How many patches an image loses.
        size: Their height and width in pixels.
    """

    number: int
    size: int

    def __call__(self, images: Images, targets: Images, seeds: Seeds) -> tuple[Images, Images]:
        """Images without their patches, and the patches without the rest; zero is in place of what is not there.

        Args:
            images: A batch (n, height, width, channels), or a list of images of several sizes.
            targets: What they replace; what it holds does not matter.
            seeds: One for each sample, shape (n,).

        Raises:
            DataError: When an image is smaller than a patch, or targets have other channels.
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
        """Mask of an image's patches, shape (height, width); they may overlap.

        Args:
            height: The image's.
            width: Alike.
            seed: Of the one sample, shape (1,).

        Raises:
            DataError: When the image is smaller than a patch.
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
    """Take square patches out of images; they, and nothing else, are the targets: for tasks whose targets are images.

    They are drawn from seed, fold, epoch and sample. Images with a target lose patches in evaluation, too, the same ones in
    every epoch and fold, because a score without them would mean nothing; images without a target stay whole.

    Args:
        number: How many.
        size: Their height and width in pixels.
    """
    return RandomPatches(number, size)
