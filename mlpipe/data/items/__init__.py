"""Data sets in Python: an item has an id, an image x and a target y; a set has a length and items by number.

A set needs no base class: `__len__` and `__getitem__(i)` are enough. Optional are `isPositive(i)` (for
`stages.list[].negatives`), `sample_weight(i)`, `get_stratify_class(i)` (for stratified folds), `classes` (names), `folds`
(pairs of training and validation rows) and `holdoutArr` (test rows). The decorators only mark functions; functions are found
by name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, TypeGuard, TypeVar

import numpy as np

from mlpipe.errors import DataError, in_short, listing, problem

Function = TypeVar("Function", bound=Callable[..., Any])


class PredictionItem:
    """One item of a set.

    Attributes:
        id: Its name.
        x: The image, shape (height, width, channels) or (height, width).
        y: The target: an array of one number for each output, or a list of such arrays; or a mask, see `mask_of`.
        prediction: The prediction for it.

    Args:
        path: Its name, often a path.
        x: The image.
        y: The target.
        prediction: The prediction for it.
    """

    def __init__(self, path: Any, x: Any, y: Any, prediction: Any = None) -> None:
        self.id, self.x, self.y, self.prediction = path, x, y, prediction
        self.before: PredictionItem | None = None

    def original(self) -> PredictionItem:
        """Return the item that a preprocessor derived it from, or itself."""
        return self if self.before is None else self.before

    def rootItem(self) -> PredictionItem:  # noqa: N802
        """Return the item of the original data set, before all preprocessing."""
        return self if self.before is None else self.before.rootItem()


class DataSet:
    """Empty, optional base class, and the annotation of a task's data sets."""


class ConnectedModel:
    """Empty class for the annotation of a task's experiment."""


def _marking(mark: str) -> Callable[..., Any]:
    """Return a decorator, with or without arguments, that marks its function and returns it otherwise unchanged."""

    def decorator(*arguments: Any, **keywords: Any) -> Any:
        if len(arguments) == 1 and callable(arguments[0]) and not keywords:
            return marked(arguments[0])
        return marked

    def marked(function: Function) -> Function:
        setattr(function, f"__mlpipe_{mark}__", True)
        return function

    return decorator


def is_marked(function: Any, mark: str) -> bool:
    """Return whether a decorator of this module marked a function: `task`, `after_fit`, `final_metric`, ..."""
    return bool(getattr(function, f"__mlpipe_{mark}__", False))


dataset_provider, dataset_preprocessor = _marking("dataset_provider"), _marking("dataset_preprocessor")
dataset_transformer, augmenter = _marking("dataset_transformer"), _marking("augmenter")
keras_loss, keras_metric, final_metric = _marking("keras_loss"), _marking("keras_metric"), _marking("final_metric")
task, after_fit = _marking("task"), _marking("after_fit")
# Nothing is downloaded, so functions with this mark are never called automatically.
after_download = _marking("after_download")


# Networks, losses, metrics and activations registered by name in a Python program, like Keras's custom objects.
custom_models: dict[str, Any] = {}
custom = SimpleNamespace(models=custom_models)
_OBJECTS: dict[str, Any] = {}


def get_custom_objects() -> dict[str, Any]:
    """Return the dictionary of functions by name that a configuration can use; add yours before it is used."""
    return _OBJECTS


def item_of(data_set: Any, index: int) -> Any:
    """Return the item of a set with this number.

    Raises:
        DataError: If the set fails, with its own error in a few words.
    """
    try:
        return data_set[index]
    except DataError:
        # It already says what fails, such as a step of a chain.
        raise
    except Exception as error:
        wrong = f"cannot be read ({in_short(error)})"
        raise DataError(
            problem(f"item {index} of {type(data_set).__name__}", wrong, fix="mend the data set")
        ) from error


def image_of(item: Any, where: str) -> np.ndarray[Any, Any]:
    """Return the image of an item, shape (height, width, channels), uint8, uint16, or float32 from 0 to 1.

    Several images, as a list in x, are concatenated along the channels.

    Args:
        item: The item.
        where: The item's name in error messages.

    Raises:
        DataError: If it is not such an image, or several images differ in size or dtype.
    """
    x = getattr(item, "x", None)
    if not _is_image_list(x):
        return _image(x, where)
    parts = [_image(image, where) for image in x]
    if len({(*part.shape[:2], str(part.dtype)) for part in parts}) > 1:
        shapes = listing([f"{part.shape[0]} x {part.shape[1]} of {part.dtype}" for part in parts])
        fix = "give them one size and type"
        raise DataError(problem(where, f"its x has images that differ ({shapes})", fix=fix))
    return np.concatenate(parts, axis=2)


def inputs_of(item: Any) -> list[int]:
    """Return the number of channels of each of several images, a list as x; empty: it has one image."""
    x = getattr(item, "x", None)
    return [1 if np.ndim(image) == 2 else int(np.shape(image)[2]) for image in x] if _is_image_list(x) else []


def _is_image_list(x: Any) -> TypeGuard[Sequence[np.ndarray[Any, Any]]]:
    """Return whether x is a list of images; nested lists of numbers are one image."""
    return (
        isinstance(x, list | tuple)
        and bool(x)
        and all(isinstance(image, np.ndarray) and image.ndim in (2, 3) for image in x)
    )


def _image(x: Any, where: str) -> np.ndarray[Any, Any]:
    pixels = np.asarray(x)
    if pixels.ndim == 2:
        pixels = pixels[:, :, np.newaxis]
    if pixels.ndim != 3 or pixels.dtype == object:
        fix = "give x the shape (height, width, channels)"
        raise DataError(problem(where, "its x is no image", got=list(pixels.shape), fix=fix))
    if pixels.dtype in (np.uint8, np.uint16):
        return pixels
    if pixels.dtype == np.bool_:
        return np.asarray(pixels * 255, np.uint8)
    if pixels.size and float(pixels.min()) >= 0 and float(pixels.max()) <= 255:
        if np.issubdtype(pixels.dtype, np.floating) and float(pixels.max()) <= 1:
            return pixels.astype(np.float32)
        return np.asarray(np.rint(pixels), np.uint8)
    raise DataError(problem(where, f"its x has values outside 0 to 255 ({pixels.dtype})", fix="give uint8 images"))


def target_of(item: Any, where: str) -> np.ndarray[Any, Any]:
    """Return the target of an item as one array of numbers; the arrays of several heads are concatenated.

    Raises:
        DataError: If it is not numeric.
    """
    y = getattr(item, "y", None)
    parts = y if isinstance(y, list | tuple) and y and np.ndim(y[0]) else [y]
    try:
        return np.concatenate([np.atleast_1d(np.asarray(part, np.float64)).ravel() for part in parts])
    except (TypeError, ValueError) as error:
        fix = "give y one number for each output"
        raise DataError(problem(where, "its y is no array of numbers", got=y, fix=fix)) from error


def mask_of(item: Any, where: str) -> tuple[np.ndarray[Any, Any], int]:
    """Return the mask of an item: a value for every pixel, and the number of class maps.

    y is (height, width) or (height, width, 1) with class numbers, booleans, 0 and 255, or 0.0 and 1.0; or (height, width,
    classes) with a 1 (or 255) in one of them for every pixel.

    Args:
        item: The item.
        where: The item's name in error messages.

    Returns:
        Values, shape (height, width), int64; and the number of maps, 0 if y has a value for every pixel.

    Raises:
        DataError: If it is not a mask, has another size than the image, or has maps that are not one-hot.
    """
    y = np.asarray(getattr(item, "y", None))
    if y.ndim < 2 and y.dtype.kind in "buif":
        fix = "give y the shape (height, width), or use a network for classes"
        raise DataError(problem(where, "its y is a target of the whole image, no mask", got=y.tolist(), fix=fix))
    if y.ndim not in (2, 3) or y.dtype.kind not in "buif" or 0 in y.shape:
        fix = "give y the shape (height, width), with a class number for every pixel"
        raise DataError(problem(where, "its y is no mask", got=list(y.shape), fix=fix))
    size = np.shape(item.x)[:2]
    if y.shape[:2] != size:
        wrong = f"its mask is {y.shape[0]} x {y.shape[1]}, its image {size[0]} x {size[1]}"
        raise DataError(problem(where, wrong, fix="let both have one size"))
    if y.ndim == 3 and y.shape[2] > 1:
        return _one_hot(y, where), y.shape[2]
    values = y.reshape(size)
    if not np.isfinite(values).all() or (values % 1).any() or values.min() < 0:
        wrong = f"its mask has values that are no class numbers ({float(values.min()):g} to {float(values.max()):g})"
        raise DataError(problem(where, wrong, fix="give whole numbers, or round them to 0 and 1"))
    return values.astype(np.int64), 0


def _one_hot(maps: np.ndarray[Any, Any], where: str) -> np.ndarray[Any, Any]:
    """Return the class numbers of one-hot maps of shape (height, width, classes)."""
    if not np.isin(maps, (0, 1)).all() and not np.isin(maps, (0, 255)).all():
        fix = "give whole numbers, 1 for the class of a pixel and 0 for the others"
        raise DataError(problem(where, "its maps hold other values than 0 and 1", fix=fix))
    class_counts = np.count_nonzero(maps, axis=2)
    if (class_counts != 1).any():
        overlap_count, none = int((class_counts > 1).sum()), int((class_counts == 0).sum())
        clauses = [
            f"{count} pixels are of {phrase}"
            for count, phrase in ((overlap_count, "several classes"), (none, "none"))
            if count
        ]
        fix = "let every pixel have one class, the background being one"
        raise DataError(problem(where, f"its maps are not one-hot: {' and '.join(clauses)}", fix=fix))
    numbers: np.ndarray[Any, Any] = maps.argmax(axis=2)
    return numbers
