"""Made-up tasks for the tests of this folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mlpipe.data import sources, task
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


def saved_task(folder: Path) -> Path:
    """Save `small_task` in a folder of tasks, and return its file."""
    path = folder / "small" / "task.json"
    task.save(small_task(), path)
    return path


def make_masks(root: Path, many: int) -> Path:
    """Images of `fashion_mini` below `root/images`, and below `root/masks` 255 where they are not black."""
    made = sources.fashion_mini()
    read = sources.reader(made, 1)
    for row in np.random.default_rng(0).permutation(len(made.samples))[:many].tolist():
        pixels = read(row)[:, :, 0]
        for kind, values in (("images", pixels), ("masks", np.where(pixels > 0, 255, 0).astype(np.uint8))):
            path = root / kind / f"{row:05}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(path)
    return root
