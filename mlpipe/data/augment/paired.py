"""Random changes of training images together with their masks or target images: both are moved alike.

Only images are recoloured, unless a step says that it is for targets too (`on`). New pixels of target images are
interpolated as those of images are; masks get the nearest class. Class numbers are shifted by one while they are moved, so
that whatever a step fills up with zeros is a pixel that does not count (`mlpipe.data.task.IGNORED`).
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np

from mlpipe.data.augment import geometry, pixel_changes
from mlpipe.data.augment import libraries as transforms
from mlpipe.data.augment.patches import RandomPatches
from mlpipe.data.augment.random_choices import Choice, Drawn, Inside, made
from mlpipe.data.augment.samples import PIPELINE, AlternatingFlip, Images, Seeds, Step, mix, once
from mlpipe.data.preprocessing import Interpolation, resized
from mlpipe.data.sources.targets.target_files import SAME, Scale
from mlpipe.errors import DataError, problem
from mlpipe.names import name_of

PairStep = Callable[[Any, Any, Seeds], tuple[Any, Any]]

_GEOMETRY, _COLOUR = "torchvision.transforms.v2._geometry", "torchvision.transforms.v2._color"
# Steps of mlpipe by their names.
MOVING = ("random_crop", "horizontal_flip", "vertical_flip", "alternating_flip", "rotate90", "random_flips", "jigsaw")
COLOURING = (
    *("brightness_contrast", "random_erasing", "convert_color", "normalize"),
    *("dropped_cells", "edges", "gray", "inverted", "linear_contrast", "hue_saturation", "gamma_contrast"),
    *("sigmoid_contrast", "log_contrast"),
    *("blended", "on_channels", "in_colours", "in_polar"),
    *(function.__name__ for function in pixel_changes.FUNCTIONS),
)
RESIZE = "resize"
# Those that are asked for the nearest pixel, where masks are moved.
SAMPLING = (
    *("random_resized_crop", RESIZE, "center_crop", "jitter_crop", "random_zoom", "rotate", "random_rotate", "fitted"),
)
# What transforms of albumentations call the number that they fill masks with.
_MASK_FILLS = ("fill_mask", "mask_drop_value")
# What moves an image and a target of another size alike: flips, turns around the middle, and each one's own colours.
_OF_ANY_SIZE = (
    *("horizontal_flip", "vertical_flip", "alternating_flip", "rotate90", "rotate", "random_rotate", RESIZE),
    *COLOURING,
)


@dataclass(frozen=True)
class _Marked:
    """A step that is told from others by its class.

    Attributes:
        change: The step.
    """

    change: PairStep

    def __call__(self, images: Images, others: Images, seeds: Seeds) -> tuple[Images, Images]:
        """The changed images and their partners."""
        return self.change(images, others, seeds)


class Always(_Marked):
    """A step that images and their partners go through in evaluation too."""


class Alternating(_Marked):
    """Flips that change with each epoch, of images and their partners."""


@dataclass(frozen=True)
class Apart(Always):
    """A resize of images or of targets only.

    Attributes:
        on: Of which.
    """

    on: str = "targets"


@dataclass(frozen=True)
class Chosen:
    """A step that draws for each sample which steps, or which parameters, it goes through: its partner goes with it.

    Attributes:
        choice: What draws, with steps of samples and their partners.
        joined: What makes one thing of the partners again.
    """

    choice: Choice
    joined: Callable[[list[Any]], Any]

    def __call__(self, images: Images, others: Any, seeds: Seeds) -> tuple[Images, Any]:
        """The changed images and their partners."""
        pairs = [
            through(self.choice.chosen(int(seeds[number])), [image], [other], seeds[number : number + 1])
            for number, (image, other) in enumerate(zip(images, others, strict=True))
        ]
        return _stacked([image[0] for image, _ in pairs]), self.joined([other[0] for _, other in pairs])


def through(steps: Sequence[PairStep], images: Any, others: Any, seeds: Seeds) -> tuple[Any, Any]:
    """Images and their partners behind some steps, each with seeds of its own.

    Args:
        steps: The steps.
        images: A batch, or a list of images.
        others: Their partners.
        seeds: One for each sample, shape (n,).
    """
    for number, step in enumerate(steps):
        own = seeds if isinstance(step, Alternating) else mix(seeds, number + 1)
        images, others = step(images, others, own)
    return images, others


def always(steps: Sequence[PairStep]) -> list[PairStep]:
    """The steps that images and their partners go through in evaluation."""
    return [step for step in steps if isinstance(step, Always)]


def adapt(target: str, transform: Any, *, of_images: bool = False) -> PairStep:
    """A step for images and their masks, or for images and their target images.

    Args:
        target: What the configuration named.
        transform: What it gave: one of our steps, or a transform of albumentations or torchvision v2, which know by
            themselves what a mask is.
        of_images: Whether targets are images with channels, and not masks.

    Raises:
        DataError: For transforms that normalise, and those that do not say what happens to masks or targets.
    """
    if of_images and isinstance(transform, RandomPatches):
        return Always(transform)
    if isinstance(transform, Choice):
        return Chosen(transform.adapted(partial(adapt, of_images=of_images)), _stacked)
    name, noun = type(transform).__name__, "targets" if of_images else "masks"
    is_torchvision = any(base.__module__.startswith("torchvision.transforms.v2") for base in type(transform).__mro__)
    if "albumentations" in transforms.origins(transform) or is_torchvision:
        transforms.refuse_normalising(transform, PIPELINE)
        change = _albumentations_change if "albumentations" in transforms.origins(transform) else _torchvision_change
        return _PerPair(name, change(transform, of_images), of_images)
    own = name_of(target)
    refuse_moving_inside(target, transform, noun)
    if own not in (*MOVING, *COLOURING, *SAMPLING):
        fix = f"use a transform of albumentations or of torchvision.transforms.v2, which move {noun} too"
        raise DataError(problem(PIPELINE, f"does not say what happens to {noun}", got=target, fix=fix))
    step = _own_step(own, transform, of_images)
    if own == RESIZE and transform.on is not None:
        return Apart(step, transform.on)
    if isinstance(transform, AlternatingFlip):
        return Alternating(step)
    return Always(step) if isinstance(transform, geometry.Always) else step


def refuse_moving_inside(target: str, transform: Any, target_noun: str) -> None:
    """Refuse what blends an image with a moved one, or moves some of its channels: nobody knows where its target is then.

    Args:
        target: What the configuration named.
        transform: What it gave.
        target_noun: Targets, for the sentence.

    Raises:
        DataError: When something inside of it does more than recolour.
    """
    if isinstance(transform, Inside) and not _recolours(target, transform):
        fix = "keep what changes colours only inside of it"
        raise DataError(
            problem(PIPELINE, f"{name_of(target)} moves parts of images, and not their {target_noun}", fix=fix)
        )


def _recolours(target: str, transform: Any) -> bool:
    """Whether all that a step does is to change the colours of images."""
    if getattr(transform, "mask_drop_value", None) is not None:
        return False
    if isinstance(transform, Inside):
        return all(_recolours(*part) for pipeline in transform.parts for part in pipeline)
    if isinstance(transform, Choice):
        if isinstance(transform, Drawn):
            return str(transform.transform["_target_"]).rpartition(".")[2] in _image_only()
        return all(_recolours(*made(node)) for steps in (*transform.pipelines, transform.otherwise) for node in steps)
    return type(transform).__name__ in _image_only() or name_of(target) in COLOURING


@cache
def _image_only() -> frozenset[str]:
    """Transforms of albumentations that change nothing but colours; dropped pixels stay where they are."""
    import albumentations

    kinds = [kind for kind in vars(albumentations).values() if isinstance(kind, type)]
    colours = (kind.__name__ for kind in kinds if issubclass(kind, albumentations.ImageOnlyTransform))
    return frozenset((*colours, "PixelDropout"))


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
                problem(PIPELINE, wrong, fix=f"{fix}; where both begin with one size, put it before the resize")
            )
        apart = apart or (name_of(target) == RESIZE and transform.on is not None)


def apply(
    steps: Sequence[PairStep], images: Images, others: Images, seeds: Seeds, *, of_images: bool = False
) -> tuple[Images, Images]:
    """Run the steps of a pipeline on images and their partners, each with seeds of its own, as `samples.apply` does.

    Args:
        steps: What `adapt` gave.
        images: A batch (n, height, width, channels), or a list of images of several sizes.
        others: Alike: target images with channels of their own; or class numbers with one channel, uint8.
        seeds: One for each sample, shape (n,).
        of_images: As for `adapt`.

    Returns:
        Images and their partners; each an array, or a list where sizes differ.
    """
    if not steps:
        return images, others
    # 255, the pixel that does not count, becomes 0.
    moved = others if of_images else _shifted(others, 1)
    images, moved = through(steps, images, moved, seeds)
    return images, moved if of_images else _shifted(moved, 255)


def _shifted(masks: Images, by: int) -> Images:
    """Masks with a number added to each pixel; 256 is 0."""
    return masks + np.uint8(by) if isinstance(masks, np.ndarray) else [mask + np.uint8(by) for mask in masks]


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
    sizes = [(round(image.shape[0] * scale[0]), round(image.shape[1] * scale[1])) for image in images]
    return [
        other if other.shape[:2] == (height, width) else resized(np.array(other), height, width, interpolation)
        for other, (height, width) in zip(others, sizes, strict=True)
    ]


def _own_step(name: str, transform: Any, of_images: bool) -> PairStep:
    """A step of mlpipe's own."""
    on = getattr(transform, "on", None)
    if not of_images and name == RESIZE and on is not None:
        fix = "leave `on` out: masks have the size of their images"
        raise DataError(problem(PIPELINE, "resizes images or masks alone", got=f"on: {on}", fix=fix))
    if not of_images:
        transforms.refuse_targets(transform)
    of_others = partial(transform, exact=True) if name in SAMPLING and not of_images else transform
    return partial(_changed, transform, of_others, on or ("images" if name in COLOURING else "both"))


def _changed(
    step: Step, of_others: Step, on: str, images: Images, others: Images, seeds: Seeds
) -> tuple[Images, Images]:
    changed = once(step, images, seeds) if on != "targets" else images
    return changed, once(of_others, others, seeds) if on != "images" else others


@dataclass(frozen=True)
class _PerPair:
    """A transform of another library: it changes one pair at a time, and gives arrays where all have one size.

    Attributes:
        name: The transform's class, for sentences.
        change: The change; it gets an image, its mask (height, width) or target image, and a seed.
        of_images: As for `adapt`.
    """

    name: str
    change: Callable[[Any, Any, int], tuple[Any, Any]]
    of_images: bool

    def __call__(self, images: Images, others: Images, seeds: Seeds) -> tuple[Images, Images]:
        """The changed images and their partners."""
        with transforms.global_draws_kept():
            pairs = [self._transform_pair(*pair) for pair in zip(images, others, seeds.tolist(), strict=True)]
        return _stacked([image for image, _ in pairs]), _stacked([other for _, other in pairs])

    def _transform_pair(self, image: Any, other: Any, seed: int) -> tuple[Any, Any]:
        plain = other if self.of_images else other[:, :, 0]
        try:
            # Copies of its own: some transforms write into what they are given, and the cache is shared.
            moved, partner = self.change(np.array(image, order="C"), np.array(plain, order="C"), seed)
        except _unfit_errors() as error:
            raise transforms.unfit_images_error(self.name, PIPELINE, image, error) from error
        moved, partner = transforms.checked(self.name, image, moved), np.asarray(partner)
        if self.of_images and partner.ndim == 2 and other.shape[2] == 1:
            partner = partner[:, :, np.newaxis]
        if partner.shape != (*moved.shape[:2], *plain.shape[2:]) or partner.dtype != other.dtype:
            noun = "target" if self.of_images else "mask"
            wrong = f"{self.name} gives a {noun} of shape {partner.shape} for an image of shape {moved.shape}"
            raise DataError(problem(PIPELINE, wrong, fix="leave it out or use another one"))
        return moved, partner if self.of_images else partner[:, :, np.newaxis]


def _unfit_errors() -> tuple[type[Exception], ...]:
    import cv2

    return (*transforms.UNFIT, cv2.error)


def _stacked(images: list[Any]) -> Images:
    return np.stack(images) if len({image.shape for image in images}) == 1 else images


def _albumentations_change(transform: Any, of_images: bool) -> Callable[[Any, Any, int], tuple[Any, Any]]:
    """The change of a pair by a transform of albumentations, to which every partner is a mask."""
    # What is given stays as it is: the same object may be adapted again.
    transform = copy.deepcopy(transform)
    if of_images:
        _interpolate_alike(transform)
    else:
        _fill_with_shifted_classes(transform)
    return partial(_by_albumentations, transforms.Seeded(transform))


def _fill_with_shifted_classes(transform: Any) -> None:
    """Let a transform of albumentations, and all inside it, fill masks with the classes that it names, shifted as masks are."""
    for name in _MASK_FILLS:
        # Zero, from outside as by default, is what counts nowhere.
        if isinstance(value := getattr(transform, name, None), int | float) and value:
            setattr(transform, name, (int(value) + 1) % 256)
    inner = getattr(transform, "transforms", None)
    for part in inner if isinstance(inner, list | tuple) else ():
        _fill_with_shifted_classes(part)


def _interpolate_alike(transform: Any) -> None:
    """Let a transform of albumentations, and all inside it, make new pixels of targets as it makes those of images."""
    if hasattr(transform, "mask_interpolation") and hasattr(transform, "interpolation"):
        transform.mask_interpolation = transform.interpolation
    if hasattr(transform, "fill_mask") and hasattr(transform, "fill"):
        transform.fill_mask = transform.fill
    inner = getattr(transform, "transforms", None)
    for part in inner if isinstance(inner, list | tuple) else ():
        _interpolate_alike(part)


def _by_albumentations(seeded: transforms.Seeded, image: Any, other: Any, seed: int) -> tuple[Any, Any]:
    both = seeded(seed, image=image, mask=other)
    return both["image"], both["mask"]


def _fill_masks_with_nothing(transform: Any) -> None:
    """Let a transform of torchvision, and all inside it, fill masks with what counts nowhere, whatever images are filled with."""
    from torch import nn
    from torchvision import tv_tensors

    if isinstance(fill := getattr(transform, "_fill", None), dict):
        transform._fill = {**fill, tv_tensors.Mask: 0}
    # Of those that hold others only some hold them as modules.
    inner = getattr(transform, "transforms", None)
    for part in (*(inner if isinstance(inner, list | tuple) else ()), *transform.children()):
        # A plain function fills nothing.
        if isinstance(part, nn.Module):
            _fill_masks_with_nothing(part)


def _torchvision_change(transform: Any, of_images: bool) -> Callable[[Any, Any, int], tuple[Any, Any]]:
    """The change of a pair by a transform of torchvision: one that moves moves both, one of colours changes images."""
    from torchvision import tv_tensors

    _fill_masks_with_nothing(transform)
    home = type(transform).__module__
    if of_images and home not in (_GEOMETRY, _COLOUR):
        fix = "list its parts one by one, or use a transform of albumentations"
        wrong = "does not say what happens to targets"
        raise DataError(problem(PIPELINE, wrong, got=type(transform).__name__, fix=fix))
    # What is wrapped as a mask keeps its colours.
    kind = tv_tensors.Image if of_images and home == _GEOMETRY else tv_tensors.Mask
    return partial(_by_torchvision, transform, kind)


def _by_torchvision(transform: Any, kind: Any, image: Any, other: Any, seed: int) -> tuple[Any, Any]:
    import torch
    from torchvision import tv_tensors

    torch.default_generator.manual_seed(seed % 2**63)
    np.random.seed(seed % 2**32)
    random.seed(seed)
    tensors = [torch.from_numpy(array if array.ndim == 2 else array.transpose(2, 0, 1)) for array in (image, other)]
    moved, changed = transform(tv_tensors.Image(tensors[0]), kind(tensors[1]))
    partner = changed.numpy() if other.ndim == 2 else np.ascontiguousarray(changed.permute(1, 2, 0).numpy())
    return moved.permute(1, 2, 0).numpy(), partner
