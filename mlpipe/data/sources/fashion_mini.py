"""A subset of Fashion-MNIST, shipped with the package: mml train task=fashion_mini."""

from __future__ import annotations

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


class FashionMini(ByName):
    """Images of shape (28, 28, 1)."""

    def by_name(self) -> Callable[[str], Pixels]:
        """Return a function from sample id to pixels."""

        def read(name: str) -> Pixels:
            part, _, index = name.partition("/")
            return np.asarray(_fashion_mini()[f"x_{part}"][int(index)], np.uint8)[:, :, np.newaxis]

        return read


@cache
def _fashion_mini() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).parents[1] / "embedded" / "fashion_mini.npz", allow_pickle=False) as stored:
        return {key: stored[key] for key in stored}
