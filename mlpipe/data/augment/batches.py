"""Random changes of training batches on the device: mixing, erasing, flips, and transforms of kornia and torchvision.

A step takes images (n, channels, height, width), targets and the number of epochs left (1 in the last one), and returns
images and targets. It draws from torch's generators, which the program seeds before every batch. Targets are class
probabilities (n, classes), or numbers for each label or output.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from mlpipe.data.augment.libraries import UNFIT, origins, refuse_normalising, unfit_images_error
from mlpipe.data.augment.samples import check_ranges
from mlpipe.errors import ConfigError, DataError, is_out_of_memory, problem

DeviceStep = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]

_PIPELINE = "augmentations.device.pipeline"
# How often a window of random shape is drawn again if it does not fit, as in torchvision.
_TRIES = 10
# Transforms of other libraries that mix images, and the steps of mlpipe to use instead, which also mix the targets.
_MIXING = {"MixUp": "mixup", "CutMix": "cutmix", "RandomMixUpV2": "mixup", "RandomCutMixV2": "cutmix"}


def mixup(
    *,
    alpha: Annotated[float, "> 0"] = 0.2,
    p: Annotated[float, ">= 0", "<= 1"] = 1.0,
    off_epochs: Annotated[int, ">= 0"] = 0,
) -> DeviceStep:
    """Blend each image and target with those of another image (Zhang et al. 2018), with one share per batch.

    The share is drawn from Beta(alpha, alpha). An unknown (NaN) label stays unknown in the blend.

    Args:
        alpha: Parameter of the Beta distribution. Small: mostly one image; 1: all shares are equally likely.
        p: The probability that a batch is mixed.
        off_epochs: The number of last epochs without mixing.
    """

    def mix(images: Tensor, target: Tensor, epochs_left: int) -> tuple[Tensor, Tensor]:
        share, order = _share(alpha), torch.randperm(len(images)).to(images.device)
        if not _is_chosen(p) or epochs_left <= off_epochs:
            return images, target
        pixels = images.float()
        return pixels.lerp(pixels[order], 1 - share), _blended(target, order, share)

    return mix


def cutmix(
    *,
    alpha: Annotated[float, "> 0"] = 1.0,
    p: Annotated[float, ">= 0", "<= 1"] = 1.0,
    off_epochs: Annotated[int, ">= 0"] = 0,
) -> DeviceStep:
    """Paste a rectangle of another image, and blend the targets by its area (Yun et al. 2019).

    Args:
        alpha: The share of the area that is kept is drawn from Beta(alpha, alpha).
        p: The probability that a batch is mixed.
        off_epochs: The number of last epochs without mixing.
    """

    def mix(images: Tensor, target: Tensor, epochs_left: int) -> tuple[Tensor, Tensor]:
        share, order = _share(alpha), torch.randperm(len(images)).to(images.device)
        height, width = images.shape[2:]
        middle = torch.rand(2)
        if not _is_chosen(p) or epochs_left <= off_epochs:
            return images, target
        side = (1 - share) ** 0.5
        top, bottom = _interval(float(middle[0]) * height, side * height, height)
        left, right = _interval(float(middle[1]) * width, side * width, width)
        pasted = images.clone()
        pasted[:, :, top:bottom, left:right] = images[order, :, top:bottom, left:right]
        area = 1 - (bottom - top) * (right - left) / (height * width)
        return pasted, _blended(target, order, area)

    return mix


def mixup_or_cutmix(
    *,
    mixup_alpha: Annotated[float, "> 0"] = 0.2,
    cutmix_alpha: Annotated[float, "> 0"] = 1.0,
    switch: Annotated[float, ">= 0", "<= 1"] = 0.5,
    p: Annotated[float, ">= 0", "<= 1"] = 1.0,
    off_epochs: Annotated[int, ">= 0"] = 0,
) -> DeviceStep:
    """Apply either mixup or CutMix to each batch, as in timm's recipes.

    Args:
        mixup_alpha: As for `mixup`.
        cutmix_alpha: As for `cutmix`.
        switch: The probability of CutMix.
        p: The probability that a batch is mixed.
        off_epochs: The number of last epochs without mixing.
    """
    blend = mixup(alpha=mixup_alpha, p=p, off_epochs=off_epochs)
    paste = cutmix(alpha=cutmix_alpha, p=p, off_epochs=off_epochs)

    def mix(images: Tensor, target: Tensor, epochs_left: int) -> tuple[Tensor, Tensor]:
        return (paste if _is_chosen(switch) else blend)(images, target, epochs_left)

    return mix


def resize(*, size: int | tuple[int, int]) -> DeviceStep:
    """Resize images as torchvision does: antialiased where they shrink, linearly where they grow.

    Args:
        size: Height and width in pixels; one number is both.

    Raises:
        ConfigError: If one of them is not positive.
    """
    height, width = (size, size) if isinstance(size, int) else (int(side) for side in size)
    if min(height, width) < 1:
        wrong = "resize needs a height and a width of one pixel or more"
        raise ConfigError(problem(_PIPELINE, wrong, got=size, fix="use for example 96"))

    def change(images: Tensor, target: Tensor, epochs_left: int) -> tuple[Tensor, Tensor]:
        if images.ndim != 4:
            wrong = f"resize takes images, not inputs of {images.ndim - 2} axes"
            raise DataError(problem(_PIPELINE, wrong, fix="leave it out"))
        small = nn.functional.interpolate(images.float(), (height, width), mode="bilinear", antialias=True)
        if images.is_floating_point():
            return small.to(images.dtype), target
        return small.round().clamp(0, torch.iinfo(images.dtype).max).to(images.dtype), target

    return change


def horizontal_flip(*, p: Annotated[float, ">= 0", "<= 1"] = 0.5) -> DeviceStep:
    """Mirror left and right, drawn for each image separately.

    Args:
        p: The probability for each image.
    """
    return _flip(3, p)


def vertical_flip(*, p: Annotated[float, ">= 0", "<= 1"] = 0.5) -> DeviceStep:
    """Mirror top and bottom, drawn for each image separately.

    Args:
        p: The probability for each image.
    """
    return _flip(2, p)


def random_crop(*, padding: Annotated[float, ">= 0", "<= 1"] = 0.125) -> DeviceStep:
    """Pad with zeros on every side, then cut out a window of the original size, at a random place for each image.

    Args:
        padding: Padding on each side as a share of height and width.
    """

    def crop(images: Tensor, target: Tensor, epochs_left: int) -> tuple[Tensor, Tensor]:
        n, _, height, width = images.shape
        down, right = round(height * padding), round(width * padding)
        padded = nn.functional.pad(images, (right, right, down, down))
        tops = torch.randint(2 * down + 1, (n, 1), device=images.device)
        lefts = torch.randint(2 * right + 1, (n, 1), device=images.device)
        rows = (tops + torch.arange(height, device=images.device))[:, :, None]
        columns = (lefts + torch.arange(width, device=images.device))[:, None, :]
        index = torch.arange(n, device=images.device)[:, None, None]
        return padded.permute(0, 2, 3, 1)[index, rows, columns].permute(0, 3, 1, 2), target

    return crop


def random_erasing(
    *,
    p: Annotated[float, ">= 0", "<= 1"] = 0.25,
    scale: tuple[float, float] = (0.02, 0.33),
    ratio: tuple[float, float] = (0.3, 3.3),
) -> DeviceStep:
    """Fill a random rectangle of each image (Zhong et al. 2020), here with the image's mean colour.

    Args:
        p: The probability for each image.
        scale: Smallest and largest share of the image's area.
        ratio: Smallest and largest ratio of width to height; drawn uniformly on a logarithmic scale.

    Raises:
        ConfigError: If a scale or ratio is not a range.
    """
    check_ranges("random_erasing", _PIPELINE, scale, ratio)

    def erase(images: Tensor, target: Tensor, epochs_left: int) -> tuple[Tensor, Tensor]:
        n, _, height, width = images.shape
        chosen, down, across = torch.rand(3, n, device=images.device)
        size, shape = torch.rand(2, _TRIES, n, device=images.device)
        area = height * width * (scale[0] + size * (scale[1] - scale[0]))
        aspect = ratio[0] * (ratio[1] / ratio[0]) ** shape
        h, w = (part.sqrt().round().clamp(min=1) for part in (area / aspect, area * aspect))
        fits = (h <= height) & (w <= width)
        first = fits.byte().argmax(0, keepdim=True)
        h, w = h.gather(0, first)[0], w.gather(0, first)[0]
        top, left = (down * (height - h + 1)).floor(), (across * (width - w + 1)).floor()
        inside = _between(top, top + h, height)[:, None, :, None] & _between(left, left + w, width)[:, None, None, :]
        inside = inside & ((chosen < p) & fits.any(0))[:, None, None, None]
        colour = images.float().mean(dim=(2, 3), keepdim=True)
        colour = colour if images.is_floating_point() else colour.round()
        return torch.where(inside, colour.to(images.dtype), images), target

    return erase


def adapt(transform: Any, peak: float = 255.0) -> DeviceStep:
    """Return a step for a kornia module, a torchvision v2 transform, or a step of mlpipe (returned as it is).

    kornia gets images from 0 to 1 and draws for each image. torchvision, and any other torch module, draws once per
    call, so images go through it one by one: 8-bit images as they are, others from 0 to 1.

    Args:
        transform: The object that the configuration named.
        peak: The value of white.

    Raises:
        DataError: For transforms that mix images, for which mlpipe has its own steps, or that normalise or convert, which
            mlpipe does itself; and by the step, for images that the transform cannot process or returns with other
            channels or another dtype.
    """
    libraries = origins(transform)
    if not libraries & {"kornia", "torch"}:
        step: DeviceStep = transform
        return step
    refuse_normalising(transform, _PIPELINE)
    _refuse_mixing(transform)
    whole_batch = "kornia" in libraries
    name = type(transform).__name__

    def change(images: Tensor, target: Tensor, epochs_left: int) -> tuple[Tensor, Tensor]:
        as_bytes = images.dtype == torch.uint8 and not whole_batch
        inputs = images if as_bytes else images.float() / peak
        try:
            changed = transform(inputs) if whole_batch else torch.stack([transform(image) for image in inputs])
        except UNFIT as error:
            if is_out_of_memory(error):
                raise
            raise unfit_images_error(name, _PIPELINE, inputs, error) from error
        changed = _checked(name, inputs, changed)
        return (changed if as_bytes else changed.clamp(0, 1) * peak), target

    return change


def apply(steps: Sequence[DeviceStep], images: Tensor, target: Tensor, epochs_left: int) -> tuple[Tensor, Tensor]:
    """Run the steps of a pipeline.

    Args:
        steps: The steps.
        images: Shape (n, channels, height, width).
        target: Shape (n, outputs).
        epochs_left: 1 in the last epoch.
    """
    for step in steps:
        images, target = step(images, target, epochs_left)
    return images, target


def _refuse_mixing(transform: Any) -> None:
    """Refuse transforms that mix images but not targets; a jigsaw only mixes within an image."""
    name = type(transform).__name__
    bases = {base.__name__ for base in type(transform).__mro__}
    if name in _MIXING or ("MixAugmentationBaseV2" in bases and name != "RandomJigsaw"):
        fix = f"use mlpipe.data.augment.batches.{_MIXING.get(name, 'mixup_or_cutmix')}"
        raise DataError(problem(_PIPELINE, f"{name} mixes images but not the targets of this program", fix=fix))


def _checked(name: str, before: Tensor, after: Any) -> Tensor:
    fits = isinstance(after, Tensor) and after.ndim == 4 and after.shape[:2] == before.shape[:2]
    if isinstance(after, Tensor) and fits and after.dtype == before.dtype:
        return after
    description = (
        f"{after.dtype} of shape {tuple(after.shape)}" if isinstance(after, Tensor) else f"a {type(after).__name__}"
    )
    wrong = f"{name} gives {description} for {before.dtype} of shape {tuple(before.shape)}"
    raise DataError(problem(_PIPELINE, wrong, fix="leave it out or use another one"))


def _between(start: Tensor, stop: Tensor, length: int) -> Tensor:
    """Return a mask of the positions from 0 to `length` that lie between start and stop, shape (n, length)."""
    place = torch.arange(length, device=start.device)
    return (place >= start[:, None]) & (place < stop[:, None])


def _flip(axis: int, p: float) -> DeviceStep:
    def flip(images: Tensor, target: Tensor, epochs_left: int) -> tuple[Tensor, Tensor]:
        chosen = torch.rand(len(images), 1, 1, 1, device=images.device) < p
        return torch.where(chosen, images.flip(axis), images), target

    return flip


def _share(alpha: float) -> float:
    return float(torch.distributions.Beta(alpha, alpha).sample())


def _is_chosen(p: float) -> bool:
    return float(torch.rand(())) < p


def _interval(middle: float, length: float, most: int) -> tuple[int, int]:
    return max(round(middle - length / 2), 0), min(round(middle + length / 2), most)


def _blended(target: Tensor, order: Tensor, share: float) -> Tensor:
    return target * share + target[order] * (1 - share)
