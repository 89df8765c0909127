"""Transforms of albumentations and torchvision as CPU steps: one image at a time, each with a seed of its own."""

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
# They would change the range of values without changing the type, or the type on purpose.
_NORMALISING = frozenset(
    (
        *("Normalize", "Denormalize", "ToFloat", "FromFloat", "ToDtype", "ConvertDtype", "ConvertImageDtype"),
        *("ToTensor", "ToTensorV2", "PILToTensor", "ToImage", "ToPILImage", "ToPureTensor"),
    )
)
# What torch's and NumPy's functions raise for images that they cannot take.
UNFIT = (TypeError, ValueError, RuntimeError, NotImplementedError, KeyError, IndexError, AssertionError)


def adapt(transform: Any) -> Step:
    """A step from an albumentations transform, a torchvision v2 transform, or a step of ours (returned as it is).

    Each image is changed under its own seed, so that it does not depend on the batch or the loader process. Any other
    torch module is taken as torchvision's are: it gets an image (channels, height, width) of the cache's type. The global
    generators of torch, NumPy and Python are left as they were.

    Args:
        transform: What the configuration named.

    Raises:
        DataError: For transforms that normalise or convert, which mlpipe does itself; and by the step, for images that
            the transform cannot take or of which it does not give images of the same channels and type.
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
    """Whether a step is one of images by themselves, and not one of their targets or of both at once."""
    return not isinstance(transform, RandomPatches) and getattr(transform, "on", "images") != "targets"


def refuse_targets(transform: Any) -> None:
    """Refuse a step that is for targets, where these are no images.

    Args:
        transform: What the configuration named.

    Raises:
        DataError: When it is.
    """
    if isinstance(transform, RandomPatches):
        fix = "use task=image_folders, whose targets are images, or random_erasing"
        raise DataError(problem(PIPELINE, "random_patches makes targets, and the task has its own", fix=fix))
    if (on := getattr(transform, "on", None)) not in (None, "images"):
        fix = "leave `on` out; it is for tasks whose targets are images"
        raise DataError(problem(PIPELINE, "the task has no target images to change", got=f"on: {on}", fix=fix))


def origins(transform: Any) -> set[str]:
    """The top packages that the object's class and its bases come from; nothing is imported to find out."""
    return {base.__module__.partition(".")[0] for base in type(transform).__mro__}


def refuse_normalising(transform: Any, pipeline: str) -> None:
    """Refuse transforms after which pixels would not be pixels any more, those inside a Compose among them.

    Args:
        transform: A transform of another library.
        pipeline: The configuration's key of the pipeline that it stands in.

    Raises:
        DataError: When there is one.
    """
    name = type(transform).__name__
    if name in _NORMALISING:
        raise DataError(problem(pipeline, f"{name} does not belong here", fix=_OURS))
    inner = getattr(transform, "transforms", None)
    for part in inner if isinstance(inner, list | tuple) else ():
        refuse_normalising(part, pipeline)


def unfit_images_error(name: str, pipeline: str, images: Any, error: Exception) -> DataError:
    """The error for images that a transform of another library cannot take.

    Args:
        name: The transform's class.
        pipeline: The configuration's key of the pipeline that it stands in.
        images: An array or tensor, one image or several.
        error: What the transform raised.
    """
    reason = next(iter(str(error).splitlines()), "")[:200] or type(error).__name__
    wrong = f"{name} cannot take images of shape {tuple(images.shape)} and type {images.dtype} ({reason})"
    return DataError(problem(pipeline, wrong, fix="leave it out or use another one"))


@dataclass(frozen=True)
class _PerImage:
    """A step that changes one image at a time.

    Attributes:
        name: The transform's class, for sentences.
        change: An image and a seed to what the transform makes of it.
        guard: Surrounds the images of a batch.
        errors: What the transform raises for images that it cannot take.
    """

    name: str
    change: Callable[[Batch, int], Any]
    guard: Callable[[], AbstractContextManager[None]]
    errors: tuple[type[Exception], ...]

    def __call__(self, images: Images, seeds: Seeds) -> Images:
        """The changed images."""
        with self.guard():
            changed = [self._one(image, seed) for image, seed in zip(images, seeds.tolist(), strict=True)]
        # Of originals that happen to have one size some may be turned by a quarter: what follows takes a list, too.
        return (
            changed
            if isinstance(images, list) or len({changed_image.shape for changed_image in changed}) > 1
            else np.stack(changed)
        )

    def _one(self, image: Batch, seed: int) -> Batch:
        try:
            # A copy of its own: some transforms write into what they are given, and the cache is shared.
            return checked(self.name, image, self.change(np.array(image, order="C"), seed))
        except self.errors as error:
            raise unfit_images_error(self.name, PIPELINE, image, error) from error


def checked(name: str, image: Batch, after: Any) -> Batch:
    """The checked output of a transform, an image of the same channels and type.

    Args:
        name: The transform's class.
        image: What it was given.
        after: What it gave.

    Raises:
        DataError: When it is something else.
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
        transform: The transform; its generators become ours.
    """

    def __init__(self, transform: Any) -> None:
        # The library's own set_random_seed makes two new generators for each image, and gives all the parts of a Compose
        # the same seed, so that a horizontal and a vertical flip would always happen together. Here all parts share two
        # generators, which are set anew for each image.
        self._bits, self._python = np.random.Philox(key=0), random.Random(0)
        transform.set_random_state(np.random.Generator(self._bits), self._python)
        self._transform, self._start = transform, self._bits.state

    def __reduce__(self) -> tuple[Any, ...]:
        # Generators that were sent to another process by themselves would no longer be those of the transform.
        return Seeded, (self._transform,)

    def __call__(self, seed: int, **given: Any) -> Any:
        """Outputs of the transform for an image, a mask and so on, by the library's names."""
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
    """Put the global generators of torch, NumPy and Python back to where they were."""
    import torch

    numpy_state, python_state = np.random.get_state(), random.getstate()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        np.random.set_state(numpy_state)
        random.setstate(python_state)
