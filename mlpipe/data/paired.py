"""Random changes of training images and their masks together: both move alike, colours change in images only.

Class numbers are shifted by one while they are moved, so that whatever a step fills up with zeros is a pixel that does
not count (`mlpipe.data.task.IGNORED`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mlpipe.data import transforms
from mlpipe.data.augmentations import Images, Seeds, Step, mix, once
from mlpipe.errors import DataError, problem

PairStep = Callable[[Any, Any, Seeds], tuple[Any, Any]]

_PIPELINE = "augmentations.cpu.pipeline"
_OWN = "mlpipe.data.augmentations"
_MOVING = ("random_crop", "horizontal_flip", "vertical_flip", "rotate90")
_COLOURING = ("brightness_contrast", "random_erasing")


def adapt(target: str, transform: Any) -> PairStep:
    """A step for images and masks.

    Args:
        target: What the configuration named.
        transform: What it gave: one of our steps, or a transform of albumentations or torchvision v2, which know by
            themselves what a mask is.

    Raises:
        DataError: For transforms that normalise, and those that say nothing of masks.
    """
    libraries, name = transforms.origins(transform), target.rpartition(".")[2]
    if "albumentations" in libraries:
        transforms.refuse_normalising(transform, _PIPELINE)
        return _each(type(transform).__name__, _albumentations(transform))
    if any(base.__module__.startswith("torchvision.transforms.v2") for base in type(transform).__mro__):
        transforms.refuse_normalising(transform, _PIPELINE)
        return _each(type(transform).__name__, _torchvision(transform))
    own = target in {f"{_OWN}.{one}" for one in (*_MOVING, *_COLOURING, "random_resized_crop")}
    if not own:
        fix = "use a transform of albumentations or of torchvision.transforms.v2, which move masks too"
        raise DataError(problem(_PIPELINE, "does not say what happens to masks", got=target, fix=fix))
    if name in _COLOURING:
        return lambda images, masks, seeds: (once(transform, images, seeds), masks)
    if name in _MOVING:
        return lambda images, masks, seeds: (once(transform, images, seeds), once(transform, masks, seeds))
    return _cropping(transform)


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


def _cropping(transform: Callable[..., Any]) -> PairStep:
    def exactly(masks: Images, seeds: Seeds) -> Any:
        return transform(masks, seeds, exact=True)

    step: Step = exactly
    return lambda images, masks, seeds: (once(transform, images, seeds), once(step, masks, seeds))


def _each(name: str, change: Callable[[Any, Any, int], tuple[Any, Any]]) -> PairStep:
    """A step that changes one pair at a time, and gives arrays where all have one size."""

    def one(image: Any, mask: Any, seed: int) -> tuple[Any, Any]:
        try:
            # Copies of its own: some transforms write into what they are given, and the cache is shared.
            moved, labels = change(np.array(image, order="C"), np.array(mask[:, :, 0], order="C"), seed)
        except _unfit() as error:
            raise transforms.unfit(name, _PIPELINE, image, error) from error
        moved = transforms.checked(name, image, moved)
        labels = np.asarray(labels)
        if labels.shape != moved.shape[:2] or labels.dtype != np.uint8:
            wrong = f"{name} gives a mask of shape {labels.shape} for an image of shape {moved.shape}"
            raise DataError(problem(_PIPELINE, wrong, fix="leave it out or use another one"))
        return moved, labels[:, :, np.newaxis]

    def step(images: Images, masks: Images, seeds: Seeds) -> tuple[Images, Images]:
        with transforms.global_draws_kept():
            pairs = [one(*given) for given in zip(images, masks, seeds.tolist(), strict=True)]
        return _stacked([image for image, _ in pairs]), _stacked([mask for _, mask in pairs])

    return step


def _unfit() -> tuple[type[Exception], ...]:
    import cv2

    return (*transforms.UNFIT, cv2.error)


def _stacked(images: list[Any]) -> Images:
    return np.stack(images) if len({image.shape for image in images}) == 1 else images


def _albumentations(transform: Any) -> Callable[[Any, Any, int], tuple[Any, Any]]:
    seeded = transforms.seeded(transform)

    def change(image: Any, mask: Any, seed: int) -> tuple[Any, Any]:
        seeded(seed)
        both = transform(image=image, mask=mask)
        return both["image"], both["mask"]

    return change


def _torchvision(transform: Any) -> Callable[[Any, Any, int], tuple[Any, Any]]:
    import torch
    from torchvision import tv_tensors

    def change(image: Any, mask: Any, seed: int) -> tuple[Any, Any]:
        torch.default_generator.manual_seed(seed % 2**63)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        pixels = tv_tensors.Image(torch.from_numpy(image).permute(2, 0, 1))
        moved, labels = transform(pixels, tv_tensors.Mask(torch.from_numpy(mask)))
        return moved.permute(1, 2, 0).numpy(), labels.numpy()

    return change
