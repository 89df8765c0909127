"""Use transforms of albumentations and torchvision on the CPU as steps of ours: one image at a time, from its own seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mlpipe.data.augmentations import Batch, Images, Seeds, Step
from mlpipe.errors import DataError, problem


def adapt(transform: Any) -> Step:
    """A step from an albumentations transform, a torchvision v2 transform, or a step of ours (returned as it is).

    Each image is changed under its own seed, so that it does not depend on the batch or the loader process; torch's
    generator is left as it was.
    """
    library = type(transform).__module__.partition(".")[0]
    if library == "albumentations":
        return _per_image(transform, _albumentations(transform))
    if library in ("torchvision", "torch"):
        return _per_image(transform, _torchvision(transform))
    step: Step = transform
    return step


def _per_image(transform: Any, change: Callable[[Any, int], Any]) -> Step:
    name = type(transform).__name__

    def step(images: Images, seeds: Seeds) -> Images:
        import torch

        with torch.random.fork_rng(devices=[]):
            changed = [
                _checked(name, image, change(image, int(seed))) for image, seed in zip(images, seeds, strict=True)
            ]
        if isinstance(images, list):
            return changed
        if len({image.shape for image in changed}) > 1:
            fix = "choose a transform with a fixed output size"
            raise DataError(problem("augmentations.cpu.pipeline", f"{name} gives images of several sizes", fix=fix))
        return np.stack(changed)

    return step


def _checked(name: str, before: Batch, after: Any) -> Batch:
    if not isinstance(after, np.ndarray) or after.ndim != 3 or after.shape[2] != before.shape[2]:
        wrong = f"{name} does not give an image of {before.shape[2]} channels"
    elif after.dtype != before.dtype:
        wrong = f"{name} turns {before.dtype} pixels into {after.dtype}"
    else:
        return after
    fix = "leave it out: mlpipe normalises and converts images itself"
    raise DataError(problem("augmentations.cpu.pipeline", wrong, fix=fix))


def _albumentations(transform: Any) -> Callable[[Any, int], Any]:
    def change(image: Any, seed: int) -> Any:
        transform.set_random_seed(seed % 2**32)
        return transform(image=np.ascontiguousarray(image))["image"]

    return change


def _torchvision(transform: Any) -> Callable[[Any, int], Any]:
    import torch

    def change(image: Any, seed: int) -> Any:
        torch.default_generator.manual_seed(seed % 2**63)
        changed = transform(torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1))
        return changed.permute(1, 2, 0).numpy() if isinstance(changed, torch.Tensor) and changed.ndim == 3 else changed

    return change
