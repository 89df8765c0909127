"""The sets that need no files: Fashion-MNIST in small, shipped with the package, and scikit-learn's digits."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated

import numpy as np

from mlpipe import files
from mlpipe.data import task
from mlpipe.data.decoding.images import Pixels
from mlpipe.data.task import Row, Task


def fashion_mini(*, max_unreadable: Annotated[int, ">= 0"] = 0) -> Task:
    """1,000 training and 300 test images of Fashion-MNIST, shipped with the package (MIT licence, Zalando Research).

    Args:
        max_unreadable: As for `folder`; these images are always readable.
    """
    stored = _fashion_mini()
    rows = [
        Row(f"{part}/{index:05d}", part, target, pixel_digest(stored[f"x_{part}"][index]))
        for part in ("train", "test")
        for index, target in enumerate(stored[f"y_{part}"].tolist())
    ]
    classes = [str(name) for name in stored["classes"]]
    return task.make("fashion_mini", classes, rows, channels=1, source={"type": "fashion_mini"})


def digits(*, max_unreadable: Annotated[int, ">= 0"] = 0) -> Task:
    """1,797 handwritten digits of 8 x 8 pixels and 17 grey levels, from scikit-learn.

    Args:
        max_unreadable: As for `folder`; these images are always readable.
    """
    pixels, targets = _digits()
    rows = [
        Row(f"{index:05d}", "train", int(target), pixel_digest(pixels[index])) for index, target in enumerate(targets)
    ]
    return task.make("digits", [str(digit) for digit in range(10)], rows, channels=1, source={"type": "digits"})


def fashion_mini_image(name: str) -> Pixels:
    """The pixels of one sample of `fashion_mini`, shape (28, 28, 1)."""
    part, _, index = name.partition("/")
    return np.asarray(_fashion_mini()[f"x_{part}"][int(index)], np.uint8)[:, :, np.newaxis]


def digits_image(name: str) -> Pixels:
    """The pixels of one sample of `digits`, shape (8, 8, 1)."""
    return np.asarray(_digits()[0][int(name)])[:, :, np.newaxis]


def pixel_digest(pixels: np.ndarray) -> str:
    """The hash of an image's pixels."""
    return files.digest_bytes(np.ascontiguousarray(pixels).tobytes())


@cache
def _fashion_mini() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).parents[1] / "embedded" / "fashion_mini.npz", allow_pickle=False) as stored:
        return {key: stored[key] for key in stored}


@cache
def _digits() -> tuple[Pixels, np.ndarray]:
    from sklearn.datasets import load_digits

    stored = load_digits()
    return np.round(stored.images * (255 / 16)).astype(np.uint8), stored.target
