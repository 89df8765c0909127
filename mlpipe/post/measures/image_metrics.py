"""Metrics of predicted images from sums of errors: mean squared and absolute error and PSNR, exact over all images.

Two sums per channel are enough for each image: of squared and of absolute errors. `outputs` (n, 2 * channels) holds
both, `targets` (n, channels) the number of compared values, NaN where an image has no target.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Sums = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
# The largest value of an image: targets from files are 0 to 1.
PEAK = 1.0
# The least error, 100 dB, because one exactly predicted image would otherwise make every mean infinite.
_LEAST = 1e-10


def mse(outputs: Sums, targets: Sums) -> float:
    """The mean squared error over all values of all images."""
    squared, _, counts = _totals(outputs, targets)
    return float(squared.sum() / counts.sum())


def mae(outputs: Sums, targets: Sums) -> float:
    """The mean absolute error over all values of all images."""
    _, absolute, counts = _totals(outputs, targets)
    return float(absolute.sum() / counts.sum())


def psnr(outputs: Sums, targets: Sums) -> float:
    """10 log10(1 / mse), in decibels, 100 at most: the peak signal-to-noise ratio of all values together, for a peak of 1."""
    return float(decibels(np.array(mse(outputs, targets))))


def image_psnr(outputs: Sums, targets: Sums) -> float:
    """The mean over images of each one's own PSNR, 100 decibels at most."""
    return float(decibels(of_images(outputs, targets)).mean())


METRICS: dict[str, Callable[[Sums, Sums], float]] = {"mse": mse, "mae": mae, "psnr": psnr, "image_psnr": image_psnr}


def of_images(outputs: Sums, targets: Sums) -> Floats:
    """Return each image's mean squared error, shape (n,).

    Args:
        outputs: Shape (n, 2 * channels).
        targets: Shape (n, channels).
    """
    squared = np.split(outputs.astype(np.float64), 2, axis=1)[0]
    return np.asarray(squared.sum(axis=1) / targets.astype(np.float64).sum(axis=1))


def decibels(errors: Floats) -> Floats:
    """Return the PSNR of mean squared errors, in their shape."""
    return np.asarray(10 * np.log10(PEAK**2 / np.maximum(errors, _LEAST)))


def table(outputs: Sums, targets: Sums, channels: Sequence[str]) -> list[dict[str, Any]]:
    """Return one row per channel: images, mean squared and absolute error and PSNR.

    Args:
        outputs: Shape (n, 2 * channels).
        targets: Shape (n, channels).
        channels: Their names.
    """
    squared, absolute, counts = _totals(outputs, targets)
    return [
        {
            "class": name,
            "images": len(targets),
            "mse": float(squared[place] / counts[place]),
            "mae": float(absolute[place] / counts[place]),
            "psnr": float(decibels(squared[place] / counts[place])),
        }
        for place, name in enumerate(channels)
    ]


def _totals(outputs: Sums, targets: Sums) -> tuple[Floats, Floats, Floats]:
    """Return squared and absolute errors of each channel over all images, and the number of values."""
    squared, absolute = np.split(outputs.astype(np.float64).sum(axis=0), 2)
    return squared, absolute, targets.astype(np.float64).sum(axis=0)
