"""Made-up tasks for the tests of this folder."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlpipe.data import task
from mlpipe.data.task import Part, Row, Samples, Task


def make_samples(
    targets: Sequence[int], digests: Sequence[str] | None = None, parts: Sequence[Part] | None = None
) -> Samples:
    n = len(targets)
    return Samples(
        tuple(f"{index:04d}" for index in range(n)),
        tuple(parts) if parts is not None else ("train",) * n,
        np.array(targets, np.int64),
        tuple(digests) if digests is not None else tuple(f"digest{index}" for index in range(n)),
    )


def make_task(samples: Samples, name: str = "made") -> Task:
    classes = tuple("abcdefghij"[: int(samples.targets.max()) + 1])
    return Task(name, "classification", classes, 1, {"type": "none"}, samples)


def small_task(n: int = 12) -> Task:
    rows = [Row(f"{index:03d}.png", "train", index % 3, f"digest{index}") for index in range(n)]
    return task.make("small", ["a", "b", "c"], rows, channels=1, source={"type": "none"})
