"""Drawn predictions for the tests of post."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Stored:
    """Targets as they would stand beside predictions, see `mlpipe.post.kind.StoredTargets`."""

    learned: Any = None
    pictures: Any = None

    def rows(self) -> Any:
        return self.learned

    def images(self) -> Any:
        return self.pictures


def drawn(
    seed: int, n: int = 400, classes: int = 4, *, prior: npt.ArrayLike | None = None, distort: bool = True
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Logits that carry information but are not calibrated, and targets in which every class occurs."""
    rng = np.random.default_rng(seed)
    targets = rng.choice(classes, n, p=None if prior is None else np.asarray(prior))
    targets[:classes] = np.arange(classes)
    logits = rng.normal(size=(n, classes))
    logits[np.arange(n), targets] += 1.5
    # These are log-likelihoods up to 1.5: exactly calibrated before the distortion.
    logits = 1.5 * logits
    if prior is not None:
        logits += np.log(np.asarray(prior))
    if distort:
        shifts = np.random.default_rng(1000 + classes)
        logits = logits * 2.2 + shifts.normal(size=classes)
    return logits, targets


def models(
    seed: int, n: int = 120, classes: int = 3, count: int = 6
) -> tuple[list[npt.NDArray[np.float64]], npt.NDArray[np.int64]]:
    """Predictions of models of different strength, and targets."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, classes, n)
    predictions = []
    for strength in rng.uniform(0.3, 2.5, count):
        logits = rng.normal(size=(n, classes))
        logits[np.arange(n), targets] += strength
        predictions.append(logits)
    return predictions, targets


# The prevalence of the unlabelled rows of `shifted`.
THERE = np.array([0.6, 0.05, 0.25, 0.1])


def shifted(seed: int, n: int = 2000) -> tuple[npt.NDArray[Any], ...]:
    """Labelled rows with even classes, unlabelled ones with others; both exactly calibrated for even classes."""
    logits, targets = drawn(seed, n, 4, distort=False)
    unlabelled, truth = drawn(seed + 100, n, 4, prior=THERE, distort=False)
    return logits, targets, unlabelled - np.log(THERE), truth


def boxes(seed: int, images: int = 30, classes: int = 3, most: int = 7) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Detections near true boxes, with another class, doubled, or anywhere, shape (n, K, 6), and true boxes, (n, B, 5)."""
    rng = np.random.default_rng(seed)
    true, found = np.full((images, most, 5), np.nan), np.full((images, 4 * most, 6), np.nan)
    for image in range(images):
        many = int(rng.integers(0, most + 1))
        corner, side = rng.uniform(0, 200, (many, 2)), np.exp(rng.uniform(2, 5.2, (many, 2)))
        label = rng.integers(0, classes, many)
        true[image, :many] = np.column_stack([corner, corner + side, label])
        said = []
        for place in range(many):
            for _ in range(int(rng.integers(0, 4))):
                moved = true[image, place, :4] + rng.normal(0, 0.08, 4) * np.tile(side[place], 2)
                wrong = rng.uniform() < 0.2
                said.append([*moved, rng.uniform(0.01, 1), rng.integers(0, classes) if wrong else label[place]])
        for _ in range(int(rng.integers(0, 4))):
            start = rng.uniform(0, 200, 2)
            said.append([*start, *(start + rng.uniform(5, 150, 2)), rng.uniform(0.01, 0.8), rng.integers(0, classes)])
        found[image, : len(said)] = np.array(said, float).reshape(-1, 6)[: found.shape[1]]
    return found.astype(np.float32).astype(float), true.astype(np.float32).astype(float)
