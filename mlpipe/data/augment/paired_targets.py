"""Random changes of training images and target images together: both are moved alike, only inputs are recoloured.

New pixels of targets are interpolated as those of images are. `convert_color` and `normalize` may be for targets, too (`on`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from mlpipe.data.augment import geometry, paired, patches
from mlpipe.data.augment import libraries as transforms
from mlpipe.data.augment.paired import Always, PairStep
from mlpipe.data.augment.samples import Images, Seeds, Step, mix, once
from mlpipe.data.sources.targets.target_files import SAME, Scale
from mlpipe.errors import DataError, problem
from mlpipe.names import name_of

_PIPELINE = "augmentations.cpu.pipeline"
_GEOMETRY, _COLOUR = "torchvision.transforms.v2._geometry", "torchvision.transforms.v2._color"
# What moves an image and a target of another size alike: flips, turns around the middle, and each one's own colours.
_OF_ANY_SIZE = (
    *("horizontal_flip", "vertical_flip", "rotate90", "rotate", "random_rotate", paired.RESIZE),
    *paired.COLOURING,
)


@dataclass(frozen=True)
class Apart(Always):
    """A resize of images or of targets only.

    Attributes:
        on: Of which.
    """

    on: str = "targets"


def adapt(target: str, transform: Any) -> PairStep:
    """A step for images and targets that are images.

    Args:
        target: What the configuration named.
        transform: What it gave: one of our steps, or a transform of albumentations or torchvision v2.

    Raises:
        DataError: For transforms that normalise, and those that do not say what happens to targets.
    """
    if isinstance(transform, patches.RandomPatches):
        return Always(transform)
    libraries = transforms.origins(transform)
    if "albumentations" in libraries:
        transforms.refuse_normalising(transform, _PIPELINE)
        _interpolate_alike(transform)
        return paired.each(type(transform).__name__, paired.albumentations(transform), several=True)
    if any(base.__module__.startswith("torchvision.transforms.v2") for base in type(transform).__mro__):
        transforms.refuse_normalising(transform, _PIPELINE)
        return _of_torchvision(transform)
    if name_of(target) not in (*paired.MOVING, *paired.COLOURING, *paired.SAMPLING):
        fix = "use a transform of albumentations or of torchvision.transforms.v2, which move targets too"
        raise DataError(problem(_PIPELINE, "does not say what happens to targets", got=target, fix=fix))
    step = _own(name_of(target), transform)
    if name_of(target) == paired.RESIZE and transform.on is not None:
        return Apart(step, transform.on)
    return Always(step) if isinstance(transform, geometry.Always) else step


def check_sizes(steps: Sequence[tuple[str, Any]], scale: Scale) -> None:
    """Refuse steps that would not move images and targets of different sizes alike.

    Args:
        steps: What the configuration named, and what it gave, of each step.
        scale: The size of targets in that of images before the first step.

    Raises:
        DataError: For the first one.
    """
    apart = scale != SAME
    for target, transform in steps:
        if apart and name_of(target) not in _OF_ANY_SIZE:
            name = target.rpartition(".")[2]
            wrong = f"{name} does not move images and targets of different sizes alike"
            fix = "use flips, rotate90, rotate, random_rotate and colours there"
            raise DataError(
                problem(_PIPELINE, wrong, fix=f"{fix}; where both begin with one size, put it before the resize")
            )
        apart = apart or (name_of(target) == paired.RESIZE and transform.on is not None)


def apply(steps: list[PairStep], images: Images, targets: Images, seeds: Seeds) -> tuple[Images, Images]:
    """Run the steps of a pipeline on images and targets, each with seeds of its own, as `paired.apply` does.

    Args:
        steps: What `adapt` gave.
        images: A batch (n, height, width, channels), or a list of images of several sizes.
        targets: Alike, with channels of their own.
        seeds: One for each sample, shape (n,).

    Returns:
        Images and targets; each an array, or a list where sizes differ.
    """
    for number, step in enumerate(steps):
        images, targets = step(images, targets, mix(seeds, number + 1))
    return images, targets


def _own(name: str, transform: Callable[..., Any]) -> PairStep:
    """A step of mlpipe's own for images and targets."""
    on = getattr(transform, "on", None) or ("images" if name in paired.COLOURING else "both")
    return partial(_changed, transform, on)


def _changed(step: Step, on: str, images: Images, targets: Images, seeds: Seeds) -> tuple[Images, Images]:
    changed = once(step, images, seeds) if on != "targets" else images
    return changed, once(step, targets, seeds) if on != "images" else targets


def _interpolate_alike(transform: Any) -> None:
    """Let a transform of albumentations, and all inside it, make new pixels of targets as it makes those of images."""
    if hasattr(transform, "mask_interpolation") and hasattr(transform, "interpolation"):
        transform.mask_interpolation = transform.interpolation
    if hasattr(transform, "fill_mask") and hasattr(transform, "fill"):
        transform.fill_mask = transform.fill
    inner = getattr(transform, "transforms", None)
    for part in inner if isinstance(inner, list | tuple) else ():
        _interpolate_alike(part)


def _of_torchvision(transform: Any) -> PairStep:
    """A step from a transform of torchvision: one that moves moves both, one of colours changes images."""
    from torchvision import tv_tensors

    name, home = type(transform).__name__, type(transform).__module__
    if home not in (_GEOMETRY, _COLOUR):
        fix = "list its parts one by one, or use a transform of albumentations"
        raise DataError(problem(_PIPELINE, "does not say what happens to targets", got=name, fix=fix))
    kind = tv_tensors.Image if home == _GEOMETRY else tv_tensors.Mask
    return paired.each(name, partial(_by_torchvision, transform, kind), several=True)


def _by_torchvision(transform: Any, kind: Any, image: Any, target: Any, seed: int) -> tuple[Any, Any]:
    import torch

    wrapped = kind(torch.from_numpy(target).permute(2, 0, 1))
    moved, other = paired.torchvision(transform, image, wrapped, seed)
    return moved, np.ascontiguousarray(other.permute(1, 2, 0).numpy())
