"""The handwritten digits of scikit-learn: mml train task=digits."""

from __future__ import annotations

import gzip
import importlib.util
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Annotated

import numpy as np

from mlpipe.data import task
from mlpipe.data.decoding.images import Pixels
from mlpipe.data.sources.listings.array_layout import pixel_digest
from mlpipe.data.sources.source import ByName
from mlpipe.data.task import Row, Task


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


class Digits(ByName):
    """The digits, shape (8, 8, 1)."""

    def by_name(self) -> Callable[[str], Pixels]:
        """Return a function from sample id to pixels."""
        return lambda name: np.asarray(_digits()[0][int(name)])[:, :, np.newaxis]


@cache
def _digits() -> tuple[Pixels, np.ndarray]:
    stored = _table()
    images = stored[:, :-1].reshape(-1, 8, 8)
    return np.round(images * (255 / 16)).astype(np.uint8), stored[:, -1].astype(np.int64)


def _table() -> np.ndarray:
    """Return the 64 grey levels of each digit and its class, shape (1797, 65), from scikit-learn's data file.

    The file is read without importing scikit-learn, which would take longer than many commands.
    """
    spec = importlib.util.find_spec("sklearn")
    for place in (spec.submodule_search_locations or ()) if spec is not None else ():
        file = Path(place) / "datasets" / "data" / "digits.csv.gz"
        if file.is_file():
            with gzip.open(file, "rt", encoding="utf-8") as table:
                return np.loadtxt(table, delimiter=",")
    from sklearn.datasets import load_digits

    stored = load_digits()
    return np.column_stack([stored.data, stored.target])
