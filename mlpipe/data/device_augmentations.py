"""Random changes of whole training batches on the device: mixing, erasing, flips, and kornia's and torchvision's transforms.

A step takes images (n, channels, height, width), targets and how many epochs are left (1 in the last one), and returns
images and targets. It draws from torch's generators, which the program seeds before every batch. Targets are class
probabilities (n, classes), or numbers for each label or output.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from mlpipe.errors import DataError, problem

DeviceStep = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]


def mixup(
    *,
    alpha: Annotated[float, "> 0"] = 0.2,
    p: Annotated[float, ">= 0", "<= 1"] = 1.0,
    off_epochs: Annotated[int, ">= 0"] = 0,
) -> DeviceStep:
    """Blend every image and target with another one's (Zhang et al. 2018), one share for the batch from Beta(alpha, alpha).

    An unknown (NaN) label stays unknown in the blend.

    Args:
        alpha: Small: mostly one image; 1: all shares as often.
        p: How often a batch is mixed.
        off_epochs: No mixing in so many last epochs.
    """

    def mix(images: Tensor, target: Tensor, epochs_left: int) -> tuple[Tensor, Tensor]:
        share, order = _share(alpha), torch.randperm(len(images)).to(images.device)
        if not _chosen(p) or epochs_left <= off_epochs:
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
    """Paste a rectangle of another image, and blend targets by its area (Yun et al. 2019).

    Args:
        alpha: The area kept is drawn from Beta(alpha, alpha).
        p: How often a batch is mixed.
        off_epochs: No mixing in so many last epochs.
    """

    def mix(images: Tensor, target: Tensor, epochs_left: int) -> tuple[Tensor, Tensor]:
        share, order = _share(alpha), torch.randperm(len(images)).to(images.device)
        height, width = images.shape[2:]
        middle = torch.rand(2)
        if not _chosen(p) or epochs_left <= off_epochs:
            return images, target
        side = (1 - share) ** 0.5
        top, bottom = _interval(float(middle[0]) * height, side * height, height)
        left, right = _interval(float(middle[1]) * width, side * width, width)
        pasted = images.clone()
        pasted[:, :, top:bottom, left:right] = images[order, :, top:bottom, left:right]
        kept = 1 - (bottom - top) * (right - left) / (height * width)
        return pasted, _blended(target, order, kept)

    return mix


def mixup_or_cutmix(
    *,
    mixup_alpha: Annotated[float, "> 0"] = 0.2,
    cutmix_alpha: Annotated[float, "> 0"] = 1.0,
    switch: Annotated[float, ">= 0", "<= 1"] = 0.5,
    p: Annotated[float, ">= 0", "<= 1"] = 1.0,
    off_epochs: Annotated[int, ">= 0"] = 0,
) -> DeviceStep:
    """One of the two for each batch, as in timm's recipes.

    Args:
        mixup_alpha: As for `mixup`.
        cutmix_alpha: As for `cutmix`.
        switch: How often it is cutmix.
        p: How often a batch is mixed.
        off_epochs: No mixing in so many last epochs.
    """
    blend = mixup(alpha=mixup_alpha, p=p, off_epochs=off_epochs)
    paste = cutmix(alpha=cutmix_alpha, p=p, off_epochs=off_epochs)

    def mix(images: Tensor, target: Tensor, epochs_left: int) -> tuple[Tensor, Tensor]:
        return (paste if _chosen(switch) else blend)(images, target, epochs_left)

    return mix


def horizontal_flip(*, p: Annotated[float, ">= 0", "<= 1"] = 0.5) -> DeviceStep:
    """Mirror left and right, each image on its own.

    Args:
        p: How often.
    """
    return _flip(3, p)


def vertical_flip(*, p: Annotated[float, ">= 0", "<= 1"] = 0.5) -> DeviceStep:
    """Mirror top and bottom, each image on its own.

    Args:
        p: How often.
    """
    return _flip(2, p)


def random_crop(*, padding: Annotated[float, ">= 0", "<= 1"] = 0.125) -> DeviceStep:
    """Pad with zeros on every side, then cut out a window of the original size, each image's at its own place.

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
        each = torch.arange(n, device=images.device)[:, None, None]
        return padded.permute(0, 2, 3, 1)[each, rows, columns].permute(0, 3, 1, 2), target

    return crop


def random_erasing(
    *,
    p: Annotated[float, ">= 0", "<= 1"] = 0.25,
    scale: tuple[float, float] = (0.02, 0.33),
    ratio: tuple[float, float] = (0.3, 3.3),
) -> DeviceStep:
    """Paint a random rectangle of each image with the image's mean colour (Zhong et al. 2020).

    Args:
        p: How often.
        scale: Smallest and largest share of the image's area.
        ratio: Smallest and largest width over height.
    """

    def erase(images: Tensor, target: Tensor, epochs_left: int) -> tuple[Tensor, Tensor]:
        n, _, height, width = images.shape
        chosen, size, shape, down, across = torch.rand(5, n, device=images.device)
        area = height * width * (scale[0] + size * (scale[1] - scale[0]))
        aspect = ratio[0] * (ratio[1] / ratio[0]) ** shape
        h = (area / aspect).sqrt().round().clamp(1, height)
        w = (area * aspect).sqrt().round().clamp(1, width)
        top, left = (down * (height - h + 1)).floor(), (across * (width - w + 1)).floor()
        row = torch.arange(height, device=images.device)[None, :, None]
        column = torch.arange(width, device=images.device)[None, None, :]
        inside = (row >= top[:, None, None]) & (row < (top + h)[:, None, None])
        inside = inside & (column >= left[:, None, None]) & (column < (left + w)[:, None, None])
        inside = (inside & (chosen < p)[:, None, None])[:, None]
        colour = images.float().mean(dim=(2, 3), keepdim=True).to(images.dtype)
        return torch.where(inside, colour, images), target

    return erase


def adapt(transform: Any, peak: float = 255.0) -> DeviceStep:
    """A step from a kornia module, a torchvision v2 transform, or a step of ours (returned as it is).

    kornia gets images from 0 to 1 and draws for each image; torchvision draws once for what it is given, so images go
    through it one by one.

    Args:
        transform: What the configuration named.
        peak: The value of white.

    Raises:
        DataError: For transforms that mix targets, of which there are our own.
    """
    library, name = type(transform).__module__.partition(".")[0], type(transform).__name__
    if library == "kornia":
        return _kornia(transform, peak)
    if library not in ("torchvision", "torch"):
        step: DeviceStep = transform
        return step
    if name in ("MixUp", "CutMix"):
        fix = f"use mlpipe.data.device_augmentations.{name.lower()}"
        raise DataError(problem("augmentations.device.pipeline", f"{name} of torchvision needs class numbers", fix=fix))

    def change(images: Tensor, target: Tensor, epochs_left: int) -> tuple[Tensor, Tensor]:
        whole = images if images.dtype == torch.uint8 else images / peak
        changed = _checked(name, images, torch.stack([transform(image) for image in whole]))
        return changed if changed.dtype == torch.uint8 else changed * peak, target

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


def _kornia(transform: Any, peak: float) -> DeviceStep:
    def change(images: Tensor, target: Tensor, epochs_left: int) -> tuple[Tensor, Tensor]:
        changed = transform(images.float() / peak)
        return _checked(type(transform).__name__, images, changed).clamp(0, 1) * peak, target

    return change


def _checked(name: str, before: Tensor, after: Any) -> Tensor:
    if isinstance(after, Tensor) and after.shape[:2] == before.shape[:2] and after.ndim == 4:
        return after
    wrong = f"{name} does not give a batch of {before.shape[1]} channels"
    raise DataError(problem("augmentations.device.pipeline", wrong, fix="leave it out"))


def _flip(axis: int, p: float) -> DeviceStep:
    def flip(images: Tensor, target: Tensor, epochs_left: int) -> tuple[Tensor, Tensor]:
        chosen = torch.rand(len(images), 1, 1, 1, device=images.device) < p
        return torch.where(chosen, images.flip(axis), images), target

    return flip


def _share(alpha: float) -> float:
    return float(torch.distributions.Beta(alpha, alpha).sample())


def _chosen(p: float) -> bool:
    return float(torch.rand(())) < p


def _interval(middle: float, length: float, most: int) -> tuple[int, int]:
    return max(round(middle - length / 2), 0), min(round(middle + length / 2), most)


def _blended(target: Tensor, order: Tensor, share: float) -> Tensor:
    return target * share + target[order] * (1 - share)
