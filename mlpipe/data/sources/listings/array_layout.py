"""Axis order of arrays of samples: the position of the channels, and the number of spatial axes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlpipe import files
from mlpipe.errors import DataError, problem

Array = np.ndarray[Any, Any]
# The keys of a source that decide what its arrays are as samples.
_DECIDING = ("layout", "axes", "range")
# The names of a sample's spatial axes, by their number.
_NAMES = {1: "length", 2: "height, width", 3: "depth, height, width"}


@dataclass(frozen=True)
class Form:
    """Axis order of arrays.

    Attributes:
        layout: `chw` or `hwc`: the channels come first or last.
        axes: The number of axes besides the channel axis.
    """

    layout: str
    axes: int

    @classmethod
    def of(cls, source: Mapping[str, Any]) -> Form:
        """Return the form in a stored `samples` source."""
        return cls(source["layout"], int(source.get("axes", 2)))


def description(source: Mapping[str, Any]) -> dict[str, Any]:
    """Return how stored arrays become samples, which their hashes do not say; empty for sources without arrays.

    Args:
        source: The stored source of a task: the order of its arrays' axes, and the values that become 0 and 1.
    """
    if not isinstance(source.get("layout"), str):
        return {}
    described = {key: source[key] for key in _DECIDING if source.get(key) is not None}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in described.items()}


def oriented(value: Array, form: Form, key: str) -> Array:
    """Return an array as samples are kept: float32, with channels last.

    Args:
        value: The array, with or without a channel axis.
        form: Its axis order.
        key: Its name, for the error message.

    Raises:
        DataError: If it has other axes, or is not numeric.
    """
    if value.ndim not in (form.axes, form.axes + 1) or 0 in value.shape or value.dtype.kind not in "buif":
        raise DataError(_sample_problem(value, form, key))
    if value.ndim == form.axes:
        return np.ascontiguousarray(value[..., np.newaxis], np.float32)
    return np.ascontiguousarray(np.moveaxis(value, 0, -1) if form.layout == "chw" else value, np.float32)


def _sample_problem(value: Array, form: Form, key: str) -> str:
    axis_names = _NAMES[form.axes]
    with_channels = f"channels, {axis_names}" if form.layout == "chw" else f"{axis_names}, channels"
    fix = f"save arrays ({with_channels}) or ({axis_names}) of numbers"
    if value.dtype.kind in "buif" and 0 not in value.shape:
        fix += f", all of them, or say with task.axes that they have other than {form.axes} beside the channels"
    fault = "is no image" if form.axes == 2 else f"is no sample of {form.axes} ax{'is' if form.axes == 1 else 'es'}"
    return problem(key, f"{fault}: {list(value.shape)} of {value.dtype}", fix=fix)


def pixel_digest(pixels: np.ndarray) -> str:
    """Return the hash of an image's pixels."""
    return files.digest_bytes(np.ascontiguousarray(pixels).tobytes())
