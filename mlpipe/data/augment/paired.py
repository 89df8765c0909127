"""Random changes of training images and their masks together: both are moved alike, only images are recoloured.

Class numbers are shifted by one while they are moved, so that whatever a step fills up with zeros is a pixel that does
not count (`mlpipe.data.task.IGNORED`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from mlpipe.data.augment import geometry
from mlpipe.data.augment import libraries as transforms
from mlpipe.data.augment.samples import Images, Seeds, Step, mix, once
from mlpipe.data.preprocessing import Interpolation, resized
from mlpipe.data.sources.targets.target_files import SAME, Scale
from mlpipe.errors import DataError, problem
from mlpipe.names import name_of

PairStep = Callable[[Any, Any, Seeds], tuple[Any, Any]]

_PIPELINE = "augmentations.cpu.pipeline"
# Steps of mlpipe by their names.
MOVING = ("random_crop", "horizontal_flip", "vertical_flip", "rotate90", "random_flips")
COLOURING = ("brightness_contrast", "random_erasing", "convert_color", "normalize")
RESIZE = "resize"
# Those that are asked for the nearest pixel, where masks are moved.
SAMPLING = (*("random_resized_crop", RESIZE, "center_crop", "jitter_crop", "random_zoom", "rotate", "random_rotate"),)


@dataclass(frozen=True)
class Always:
    """A step that images and masks go through in evaluation too.

    Attributes:
        change: The step.
    """

    change: PairStep

    def __call__(self, images: Images, masks: Images, seeds: Seeds) -> tuple[Images, Images]:
        """The changed images and masks."""
        changed: tuple[Images, Images] = self.change(images, masks, seeds)
        return changed


def always(steps: Sequence[PairStep]) -> list[PairStep]:
    """The steps that images and masks go through in evaluation."""
    return [step for step in steps if isinstance(step, Always)]


def adapt(target: str, transform: Any) -> PairStep:
    """A step for images and masks.

    Args:
        target: What the configuration named.
        transform: What it gave: one of our steps, or a transform of albumentations or torchvision v2, which know by
            themselves what a mask is.

    Raises:
        DataError: For transforms that normalise, and those that say nothing of masks.
    """
    libraries = transforms.origins(transform)
    if "albumentations" in libraries:
        transforms.refuse_normalising(transform, _PIPELINE)
        return each(type(transform).__name__, albumentations(transform))
    if any(base.__module__.startswith("torchvision.transforms.v2") for base in type(transform).__mro__):
        transforms.refuse_normalising(transform, _PIPELINE)
        return each(type(transform).__name__, partial(_by_torchvision, transform))
    if name_of(target) not in (*MOVING, *COLOURING, *SAMPLING):
        fix = "use a transform of albumentations or of torchvision.transforms.v2, which move masks too"
        raise DataError(problem(_PIPELINE, "does not say what happens to masks", got=target, fix=fix))
    step = _own(name_of(target), transform)
    return Always(step) if isinstance(transform, geometry.Always) else step


def apply(steps: Sequence[PairStep], images: Images, masks: Images, seeds: Seeds) -> tuple[Images, Images]:
    """Run the steps of a pipeline on images and masks, each with seeds of its own, as `augmentations.apply` does.

    Args:
        steps: What `adapt` gave.
        images: A batch (n, height, width, channels), or a list of images of several sizes.
        masks: Class numbers alike, with one channel, uint8.
        seeds: One for each sample, shape (n,).

    Returns:
        Images and masks; each an array, or a list where sizes differ.
    """
    if not steps:
        return images, masks
    # 255, the pixel that does not count, becomes 0.
    shifted: Any = masks + np.uint8(1) if isinstance(masks, np.ndarray) else [mask + np.uint8(1) for mask in masks]
    for number, step in enumerate(steps):
        images, shifted = step(images, shifted, mix(seeds, number + 1))
    back = shifted - np.uint8(1) if isinstance(shifted, np.ndarray) else [mask - np.uint8(1) for mask in shifted]
    return images, back


def of_size(others: Images, images: Images, interpolation: Interpolation = "bilinear", scale: Scale = SAME) -> Images:
    """Masks or targets in the sizes of their images: a JPEG that was reduced while it was decoded may be a pixel off.

    Args:
        others: The masks or targets; an array is of one size with the images.
        images: Their images.
        interpolation: How they are resized.
        scale: How many times as high and as wide as their images they are.
    """
    if not isinstance(others, list):
        return others
    wanted = [(round(image.shape[0] * scale[0]), round(image.shape[1] * scale[1])) for image in images]
    return [
        one if one.shape[:2] == (height, width) else resized(np.array(one), height, width, interpolation)
        for one, (height, width) in zip(others, wanted, strict=True)
    ]


def _own(name: str, transform: Callable[..., Any]) -> PairStep:
    """A step of mlpipe's own for images and masks."""
    if name in COLOURING:
        transforms.refuse_targets(transform)
        return partial(_images_only, transform)
    if name in MOVING:
        return partial(_both, transform, transform)
    if name == RESIZE and transform.on is not None:  # type: ignore[attr-defined]
        fix = "leave `on` out: masks have the size of their images"
        raise DataError(problem(_PIPELINE, "resizes images or masks alone", got=f"on: {transform.on}", fix=fix))  # type: ignore[attr-defined]
    return partial(_both, transform, partial(transform, exact=True))


def _images_only(step: Step, images: Images, masks: Images, seeds: Seeds) -> tuple[Images, Images]:
    return once(step, images, seeds), masks


def _both(step: Step, of_masks: Step, images: Images, masks: Images, seeds: Seeds) -> tuple[Images, Images]:
    return once(step, images, seeds), once(of_masks, masks, seeds)


def each(name: str, change: Callable[[Any, Any, int], tuple[Any, Any]], *, several: bool = False) -> PairStep:
    """A step that changes one pair at a time, and gives arrays where all have one size.

    Args:
        name: What changes them, for sentences.
        change: The change; it gets an image, its mask and a seed.
        several: Whether the second of a pair is an image with channels, and no mask (height, width).
    """

    return _PerPair(name, change, several)


@dataclass(frozen=True)
class _PerPair:
    """Transform of pairs that `each` makes."""

    name: str
    change: Callable[[Any, Any, int], tuple[Any, Any]]
    several: bool

    def __call__(self, images: Images, masks: Images, seeds: Seeds) -> tuple[Images, Images]:
        with transforms.global_draws_kept():
            pairs = [self._one(*given) for given in zip(images, masks, seeds.tolist(), strict=True)]
        return _stacked([image for image, _ in pairs]), _stacked([mask for _, mask in pairs])

    def _one(self, image: Any, mask: Any, seed: int) -> tuple[Any, Any]:
        name, several = self.name, self.several
        try:
            # Copies of its own: some transforms write into what they are given, and the cache is shared.
            other = mask if several else mask[:, :, 0]
            moved, labels = self.change(np.array(image, order="C"), np.array(other, order="C"), seed)
        except _unfit() as error:
            raise transforms.unfit(name, _PIPELINE, image, error) from error
        moved = transforms.checked(name, image, moved)
        labels = np.asarray(labels)
        if several and labels.ndim == 2 and mask.shape[2] == 1:
            labels = labels[:, :, np.newaxis]
        shape = (*moved.shape[:2], mask.shape[2]) if several else moved.shape[:2]
        if labels.shape != shape or labels.dtype != mask.dtype:
            what = "target" if several else "mask"
            wrong = f"{name} gives a {what} of shape {labels.shape} for an image of shape {moved.shape}"
            raise DataError(problem(_PIPELINE, wrong, fix="leave it out or use another one"))
        return moved, labels if several else labels[:, :, np.newaxis]


def _unfit() -> tuple[type[Exception], ...]:
    import cv2

    return (*transforms.UNFIT, cv2.error)


def _stacked(images: list[Any]) -> Images:
    return np.stack(images) if len({image.shape for image in images}) == 1 else images


def albumentations(transform: Any) -> Callable[[Any, Any, int], tuple[Any, Any]]:
    """A change of image and mask by a transform of albumentations, from a seed.

    Args:
        transform: The transform.
    """
    return partial(_by_albumentations, transforms.Seeded(transform))


def _by_albumentations(seeded: transforms.Seeded, image: Any, mask: Any, seed: int) -> tuple[Any, Any]:
    both = seeded(seed, image=image, mask=mask)
    return both["image"], both["mask"]


def _by_torchvision(transform: Any, image: Any, mask: Any, seed: int) -> tuple[Any, Any]:
    import torch
    from torchvision import tv_tensors

    moved, labels = torchvision(transform, image, tv_tensors.Mask(torch.from_numpy(mask)), seed)
    return moved, labels.numpy()


def torchvision(transform: Any, image: Any, other: Any, seed: int) -> tuple[Any, Any]:
    """Outputs of a transform of torchvision for an image (height, width, channels) and another of its tensors.

    Args:
        transform: The transform.
        image: The image.
        other: A tensor of `torchvision.tv_tensors`, which says what it is.
        seed: What is drawn from.
    """
    import torch
    from torchvision import tv_tensors

    torch.default_generator.manual_seed(seed % 2**63)
    np.random.seed(seed % 2**32)
    random.seed(seed)
    moved, changed = transform(tv_tensors.Image(torch.from_numpy(image).permute(2, 0, 1)), other)
    return moved.permute(1, 2, 0).numpy(), changed
