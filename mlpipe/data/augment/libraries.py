"""Transforms of albumentations and torchvision as CPU steps: one image at a time, each with its own seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from mlpipe.data.augment.patches import RandomPatches
from mlpipe.data.augment.samples import PIPELINE, Batch, Images, Seeds, Step
from mlpipe.errors import DataError, problem

_OURS = "leave it out: mlpipe normalises and converts images itself"
# These would change the range of values without changing the dtype, or change the dtype on purpose.
_NORMALISING = frozenset(
    (
        *("Normalize", "Denormalize", "ToFloat", "FromFloat", "ToDtype", "ConvertDtype", "ConvertImageDtype"),
        *("ToTensor", "ToTensorV2", "PILToTensor", "ToImage", "ToPILImage", "ToPureTensor"),
    )
)
# What functions of torch and NumPy raise for images that they cannot process.
UNFIT = (TypeError, ValueError, RuntimeError, NotImplementedError, KeyError, IndexError, AssertionError)


def adapt(transform: Any) -> Step:
    """Return a step for an albumentations transform, a torchvision v2 transform, or a step of mlpipe (returned as it is).

    Each image is changed under its own seed, so that it does not depend on the batch or the loader process. Any other
    torch module is treated like torchvision's: it gets an image (channels, height, width) of the cache's dtype. The global
    generators of torch, NumPy and Python keep their states.

    Args:
        transform: The object that the configuration named.

    Raises:
        DataError: For transforms that normalise or convert, which mlpipe does itself; and by the step, for images that
            the transform cannot process or returns with other channels or another dtype.
    """
    libraries, name = origins(transform), type(transform).__name__
    if not libraries & {"albumentations", "torch"}:
        step: Step = transform
        return step
    refuse_normalising(transform, PIPELINE)
    if "albumentations" in libraries:
        import cv2

        return _PerImage(name, partial(_by_albumentations, Seeded(transform)), nullcontext, (*UNFIT, cv2.error))
    return _PerImage(name, partial(_by_torchvision, transform), global_draws_kept, UNFIT)


def changes_images(transform: Any) -> bool:
    """Return whether a step changes images only, and not targets or both at once."""
    return not isinstance(transform, RandomPatches) and getattr(transform, "on", "images") != "targets"


def refuse_targets(transform: Any) -> None:
    """Refuse a step for targets if the targets are not images.

    Args:
        transform: The object that the configuration named.

    Raises:
        DataError: If it is such a step.
    """
    if isinstance(transform, RandomPatches):
        fix = "use task=image_folders, whose targets are images, or random_erasing"
        raise DataError(problem(PIPELINE, "random_patches makes targets, and the task has its own", fix=fix))
    if (on := getattr(transform, "on", None)) not in (None, "images"):
        fix = "leave `on` out; it is for tasks whose targets are images"
        raise DataError(problem(PIPELINE, "the task has no target images to change", got=f"on: {on}", fix=fix))


def origins(transform: Any) -> set[str]:
    """Return the top-level packages of the object's class and its bases, without importing anything."""
    return {base.__module__.partition(".")[0] for base in type(transform).__mro__}


def refuse_normalising(transform: Any, pipeline: str) -> None:
    """Refuse transforms whose results are no longer pixel values, also inside a Compose.

    Args:
        transform: A transform of another library.
        pipeline: The configuration key of its pipeline.

    Raises:
        DataError: If there is one.
    """
    name = type(transform).__name__
    if name in _NORMALISING:
        raise DataError(problem(pipeline, f"{name} does not belong here", fix=_OURS))
    inner = getattr(transform, "transforms", None)
    for part in inner if isinstance(inner, list | tuple) else ():
        refuse_normalising(part, pipeline)


def unfit_images_error(name: str, pipeline: str, images: Any, error: Exception) -> DataError:
    """Return the error for images that a transform of another library cannot process.

    Args:
        name: The name of the transform's class.
        pipeline: The configuration key of its pipeline.
        images: An array or tensor, one image or several.
        error: The exception that the transform raised.
    """
    reason = next(iter(str(error).splitlines()), "")[:200] or type(error).__name__
    wrong = f"{name} cannot take images of shape {tuple(images.shape)} and type {images.dtype} ({reason})"
    return DataError(problem(pipeline, wrong, fix="leave it out or use another one"))


@dataclass(frozen=True)
class _PerImage:
    """A step that changes one image at a time.

    Attributes:
        name: The name of the transform's class, for error messages.
        change: Maps an image and a seed to the changed image.
        guard: A context manager around the images of a batch.
        errors: What the transform raises for images that it cannot process.
    """

    name: str
    change: Callable[[Batch, int], Any]
    guard: Callable[[], AbstractContextManager[None]]
    errors: tuple[type[Exception], ...]

    def __call__(self, images: Images, seeds: Seeds) -> Images:
        """Return the changed images."""
        with self.guard():
            changed = [self._one(image, seed) for image, seed in zip(images, seeds.tolist(), strict=True)]
        # Always a list for originals: even if they share one size, a quarter turn may change that of some.
        return (
            changed
            if isinstance(images, list) or len({changed_image.shape for changed_image in changed}) > 1
            else np.stack(changed)
        )

    def _one(self, image: Batch, seed: int) -> Batch:
        try:
            # A copy, because some transforms modify their input in place, and the cache is shared.
            return checked(self.name, image, self.change(np.array(image, order="C"), seed))
        except self.errors as error:
            raise unfit_images_error(self.name, PIPELINE, image, error) from error


def checked(name: str, image: Batch, after: Any) -> Batch:
    """Return the output of a transform after checking that it is an image of the same channels and dtype.

    Args:
        name: The name of the transform's class.
        image: Its input.
        after: Its output.

    Raises:
        DataError: If it is anything else.
    """
    if not isinstance(after, np.ndarray) or after.ndim != 3 or after.shape[2] != image.shape[2]:
        description = (
            f"an array of shape {after.shape}" if isinstance(after, np.ndarray) else f"a {type(after).__name__}"
        )
        wrong = f"{name} gives {description} for an image of shape {image.shape}"
        raise DataError(problem(PIPELINE, wrong, fix="leave it out or use another one"))
    if after.dtype != image.dtype:
        raise DataError(problem(PIPELINE, f"{name} turns {image.dtype} pixels into {after.dtype}", fix=_OURS))
    return after


class Seeded:
    """A transform of albumentations that is called with a seed.

    Args:
        transform: The transform; its generators are replaced.
    """

    def __init__(self, transform: Any) -> None:
        # The library's own set_random_seed makes two new generators for each image and gives all parts of a Compose
        # the same seed, so that a horizontal and a vertical flip would always happen together. Here all parts share two
        # generators, which are reset for each image.
        self._bits, self._python = np.random.Philox(key=0), random.Random(0)
        transform.set_random_state(np.random.Generator(self._bits), self._python)
        self._transform, self._start = transform, self._bits.state

    def __reduce__(self) -> tuple[Any, ...]:
        # Pickling the generators separately would detach them from the transform in the other process.
        return Seeded, (self._transform,)

    def __call__(self, seed: int, **given: Any) -> Any:
        """Return the outputs of the transform for an image, a mask and so on, with the library's argument names."""
        self._start["state"]["key"][0] = seed
        self._bits.state = self._start
        self._python.seed(seed)
        return self._transform(**given)


def _by_albumentations(seeded: Seeded, image: Batch, seed: int) -> Any:
    return seeded(seed, image=image)["image"]


def _by_torchvision(transform: Any, image: Batch, seed: int) -> Any:
    import torch

    torch.default_generator.manual_seed(seed % 2**63)
    np.random.seed(seed % 2**32)
    random.seed(seed)
    changed = transform(torch.from_numpy(image).permute(2, 0, 1))
    return changed.permute(1, 2, 0).numpy() if isinstance(changed, torch.Tensor) and changed.ndim == 3 else changed


@contextmanager
def global_draws_kept() -> Iterator[None]:
    """Restore the states of the global generators of torch, NumPy and Python on exit."""
    import torch

    numpy_state, python_state = np.random.get_state(), random.getstate()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        np.random.set_state(numpy_state)
        random.setstate(python_state)
