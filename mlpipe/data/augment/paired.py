"""Random changes of training images together with their masks or target images, which move alike.

Only images are recoloured, unless a step also applies to targets (`on`). New pixels of target images are interpolated like
those of images; masks get the nearest class. Class numbers are shifted by one while masks are moved, so that pixels that a
step fills with zeros are ignored (`mlpipe.data.task.IGNORED`).
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np

from mlpipe.data.augment import geometry, pixel_changes, styles
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
# Steps of mlpipe by name.
MOVING = ("random_crop", "horizontal_flip", "vertical_flip", "alternating_flip", "rotate90", "random_flips", "jigsaw")
COLOURING = (
    *("brightness_contrast", "random_erasing", "convert_color", "normalize"),
    *("dropped_cells", "edges", "gray", "inverted", "linear_contrast", "hue_saturation", "gamma_contrast"),
    *("sigmoid_contrast", "log_contrast"),
    *("blended", "blended_along", "blended_in_cells", "blended_by_hue", "on_channels", "in_colours", "in_polar"),
    *(function.__name__ for function in (*pixel_changes.FUNCTIONS, *styles.FUNCTIONS)),
)
RESIZE = "resize"
# Steps that are called with `exact` when masks are moved.
SAMPLING = (
    *("random_resized_crop", RESIZE, "center_crop", "jitter_crop", "random_zoom", "rotate", "random_rotate", "fitted"),
)
# The albumentations parameters for the fill value of masks.
_MASK_FILLS = ("fill_mask", "mask_drop_value")
# Steps that move an image and a target of another size alike: flips, central rotations, and changes of colours.
_OF_ANY_SIZE = (
    *("horizontal_flip", "vertical_flip", "alternating_flip", "rotate90", "rotate", "random_rotate", RESIZE),
    *COLOURING,
)


@dataclass(frozen=True)
class _Marked:
    """Base of steps that are recognised by their class.

    Attributes:
        change: The step.
    """

    change: PairStep

    def __call__(self, images: Images, others: Images, seeds: Seeds) -> tuple[Images, Images]:
        """Return the changed images and their partners."""
        return self.change(images, others, seeds)


class Always(_Marked):
    """A step that is also applied to images and their partners in evaluation."""


class Alternating(_Marked):
    """Flips of images and their partners that alternate between epochs."""


@dataclass(frozen=True)
class Apart(Always):
    """A resize of only the images or only the targets.

    Attributes:
        on: Which of the two.
    """

    on: str = "targets"


@dataclass(frozen=True)
class Chosen:
    """A step that draws for each sample which steps or parameters to apply, to its partner too.

    Attributes:
        choice: The random choice among steps for samples and their partners.
        joined: Joins the list of changed partners again.
    """

    choice: Choice
    joined: Callable[[list[Any]], Any]

    def __call__(self, images: Images, others: Any, seeds: Seeds) -> tuple[Images, Any]:
        """Return the changed images and their partners."""
        pairs = [
            through(self.choice.chosen(int(seeds[number])), [image], [other], seeds[number : number + 1])
            for number, (image, other) in enumerate(zip(images, others, strict=True))
        ]
        return _stacked([image[0] for image, _ in pairs]), self.joined([other[0] for _, other in pairs])


def through(steps: Sequence[PairStep], images: Any, others: Any, seeds: Seeds) -> tuple[Any, Any]:
    """Apply steps to images and their partners, each step with its own seeds.

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
    """Return the steps that are also applied in evaluation."""
    return [step for step in steps if isinstance(step, Always)]


def adapt(target: str, transform: Any, *, of_images: bool = False) -> PairStep:
    """Return a step for images and their masks, or for images and their target images.

    Args:
        target: The name in the configuration.
        transform: The object of that name: a step of mlpipe, or a transform of albumentations or torchvision v2, which
            handle masks themselves.
        of_images: Whether targets are images with channels instead of masks.

    Raises:
        DataError: For transforms that normalise, and transforms that do not say what happens to masks or targets.
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
    """Refuse steps that blend an image with a moved one or move only some channels: the target's place is then undefined.

    Args:
        target: The name in the configuration.
        transform: The object of that name.
        target_noun: The word for targets in the error message.

    Raises:
        DataError: If a step inside of it does more than recolour.
    """
    if isinstance(transform, Inside) and not _recolours(target, transform):
        fix = "keep what changes colours only inside of it"
        raise DataError(
            problem(PIPELINE, f"{name_of(target)} moves parts of images, and not their {target_noun}", fix=fix)
        )


def _recolours(target: str, transform: Any) -> bool:
    """Return whether a step only changes colours of images."""
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
    """Return the albumentations transforms that only change pixel values in place, including PixelDropout."""
    import albumentations

    kinds = [kind for kind in vars(albumentations).values() if isinstance(kind, type)]
    colours = (kind.__name__ for kind in kinds if issubclass(kind, albumentations.ImageOnlyTransform))
    return frozenset((*colours, "PixelDropout"))


def check_sizes(steps: Sequence[tuple[str, Any]], scale: Scale) -> None:
    """Refuse steps that would not move images and targets of different sizes alike.

    Args:
        steps: The name in the configuration and the object, for each step.
        scale: The size of targets relative to that of images before the first step.

    Raises:
        DataError: For the first such step.
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
    """Run the steps of a pipeline on images and their partners, each step with its own seeds, as in `samples.apply`.

    Args:
        steps: Results of `adapt`.
        images: A batch (n, height, width, channels), or a list of images of several sizes.
        others: Likewise: target images with their own channels, or class numbers with one channel, uint8.
        seeds: One for each sample, shape (n,).
        of_images: As for `adapt`.

    Returns:
        Images and their partners; each an array, or a list if sizes differ.
    """
    if not steps:
        return images, others
    # 255, the ignored class number, wraps around to 0.
    moved = others if of_images else _shifted(others, 1)
    images, moved = through(steps, images, moved, seeds)
    return images, moved if of_images else _shifted(moved, 255)


def _shifted(masks: Images, by: int) -> Images:
    """Return masks with a number added to each pixel, modulo 256."""
    return masks + np.uint8(by) if isinstance(masks, np.ndarray) else [mask + np.uint8(by) for mask in masks]


def of_size(others: Images, images: Images, interpolation: Interpolation = "bilinear", scale: Scale = SAME) -> Images:
    """Resize masks or targets to the sizes of their images: JPEGs decoded at a reduced size may be off by a pixel.

    Args:
        others: The masks or targets; an array already has the size of the images.
        images: Their images.
        interpolation: The filter of the resize.
        scale: The ratio of their height and width to those of their images.
    """
    if not isinstance(others, list):
        return others
    sizes = [(round(image.shape[0] * scale[0]), round(image.shape[1] * scale[1])) for image in images]
    return [
        other if other.shape[:2] == (height, width) else resized(np.array(other), height, width, interpolation)
        for other, (height, width) in zip(others, sizes, strict=True)
    ]


def _own_step(name: str, transform: Any, of_images: bool) -> PairStep:
    """Return a paired step for a step of mlpipe."""
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
    """A transform of another library that changes one pair at a time, and gives arrays if all results have one size.

    Attributes:
        name: The name of the transform's class, for error messages.
        change: A function of an image, its mask (height, width) or target image, and a seed.
        of_images: As for `adapt`.
    """

    name: str
    change: Callable[[Any, Any, int], tuple[Any, Any]]
    of_images: bool

    def __call__(self, images: Images, others: Images, seeds: Seeds) -> tuple[Images, Images]:
        """Return the changed images and their partners."""
        with transforms.global_draws_kept():
            pairs = [self._transform_pair(*pair) for pair in zip(images, others, seeds.tolist(), strict=True)]
        return _stacked([image for image, _ in pairs]), _stacked([other for _, other in pairs])

    def _transform_pair(self, image: Any, other: Any, seed: int) -> tuple[Any, Any]:
        plain = other if self.of_images else other[:, :, 0]
        try:
            # Copies, because some transforms modify their input in place, and the cache is shared.
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
    """Return the change of a pair by an albumentations transform, which treats every partner as a mask."""
    # A copy, because the same object may be adapted again.
    transform = copy.deepcopy(transform)
    if of_images:
        _interpolate_alike(transform)
    else:
        _fill_with_shifted_classes(transform)
    return partial(_by_albumentations, transforms.Seeded(transform))


def _fill_with_shifted_classes(transform: Any) -> None:
    """Make an albumentations transform, and all inside it, fill masks with the classes it names, shifted as masks are."""
    for name in _MASK_FILLS:
        # Zero, the default, means ignored pixels.
        if isinstance(value := getattr(transform, name, None), int | float) and value:
            setattr(transform, name, (int(value) + 1) % 256)
    inner = getattr(transform, "transforms", None)
    for part in inner if isinstance(inner, list | tuple) else ():
        _fill_with_shifted_classes(part)


def _interpolate_alike(transform: Any) -> None:
    """Make an albumentations transform, and all inside it, interpolate targets in the same way as images."""
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
    """Make a torchvision transform, and all inside it, fill masks with the ignored class, whatever images are filled with."""
    from torch import nn
    from torchvision import tv_tensors

    if isinstance(fill := getattr(transform, "_fill", None), dict):
        transform._fill = {**fill, tv_tensors.Mask: 0}
    # Some containers do not register their transforms as modules.
    inner = getattr(transform, "transforms", None)
    for part in (*(inner if isinstance(inner, list | tuple) else ()), *transform.children()):
        # A plain function fills nothing.
        if isinstance(part, nn.Module):
            _fill_masks_with_nothing(part)


def _torchvision_change(transform: Any, of_images: bool) -> Callable[[Any, Any, int], tuple[Any, Any]]:
    """Return the change of a pair by a torchvision transform: geometric ones move both, others change only images."""
    from torchvision import tv_tensors

    _fill_masks_with_nothing(transform)
    home = type(transform).__module__
    if of_images and home not in (_GEOMETRY, _COLOUR):
        fix = "list its parts one by one, or use a transform of albumentations"
        wrong = "does not say what happens to targets"
        raise DataError(problem(PIPELINE, wrong, got=type(transform).__name__, fix=fix))
    # A partner that is wrapped as a mask keeps its colours.
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
