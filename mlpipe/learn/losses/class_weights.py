"""Class weights that make rare classes count as much as frequent ones, up to a bound, and are reported before the training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mlpipe.errors import ConfigError, did_you_mean, listing, problem
from mlpipe.learn.losses.labels import Labels

ClassWeights = Literal["balanced"] | list[float] | None


# The largest weight is at most this many times the smallest: a class rarer than a thousandth of the most frequent one is
# weighted as if it occurred that often. Without a bound a step would learn from a few pixels or images only.
MOST = 1000.0
BALANCED = "balanced"
# With more classes than this a sentence names only the extremes.
_NAMED = 12


@dataclass(frozen=True)
class Balance:
    """Weights computed from class frequencies.

    Attributes:
        values: Shape (classes,); 0 for classes that do not occur.
        absent: The numbers of the classes that do not occur.
        bounded: The numbers of the classes whose weight was reduced to the bound.
        bound: The largest ratio of a weight to the smallest one; for positives against negatives, the largest weight.
    """

    values: Tensor
    absent: tuple[int, ...]
    bounded: tuple[int, ...]
    bound: float


def of_classes(counts: Tensor, label_smoothing: float = 0.0) -> Balance:
    """Return n / (classes * count) over the classes that occur, as scikit-learn's `balanced`; absent classes get 0.

    With label smoothing each class's share of the target counts with that class's weight (torch.nn.CrossEntropyLoss). The
    bound is then low enough that an image's share for a rare class counts less than half of the share for its own class.

    Args:
        counts: Occurrences of each class, whole numbers, shape (classes,).
        label_smoothing: Share of the target that is spread evenly over all classes.
    """
    present, classes = counts > 0, len(counts)
    raw = counts.sum() / (int(present.sum()) * counts.clamp(min=1).float())
    raw = torch.where(present, raw, torch.zeros_like(raw))
    bound = MOST
    if label_smoothing > 0:
        spread = label_smoothing / classes
        bound = min(MOST, max(1.0, (1 - label_smoothing + spread) / spread / 2))
    least = raw[present].min() if present.any() else raw.new_zeros(())
    values = raw.clamp(max=float(least) * bound)
    return Balance(values, _numbers(~present), _numbers(values < raw), bound)


def of_positives(counts: Tensor, known: Tensor) -> Balance:
    """Return negatives over positives of each label, among images with a known label, bounded to 1 / `MOST` and `MOST`.

    A label without positives gets the weight 0.

    Args:
        counts: Positives of each label, whole numbers, shape (labels,).
        known: Images in which each label is known, of the same shape.
    """
    present = counts > 0
    raw = ((known - counts).clamp(min=1) / counts.clamp(min=1)).float()
    values = torch.where(present, raw.clamp(1 / MOST, MOST), torch.zeros_like(raw))
    return Balance(values, _numbers(~present), _numbers(present & (values != raw)), MOST)


def weights(labels: Labels, class_weights: ClassWeights, label_smoothing: float = 0.0) -> Tensor | None:
    """Return the weight of each class, shape (classes,), or None without weights.

    Args:
        labels: Facts about the training images.
        class_weights: `balanced` (see `of_classes`), a number for each class, or None.
        label_smoothing: Label smoothing of a loss that weights each class's share of the target.

    Raises:
        ConfigError: When a list does not have one number per class, or is not positive.
    """
    if class_weights == "balanced":
        return of_classes(labels.counts, label_smoothing).values if labels.counts.any() else None
    return listed("class_weights", labels, class_weights)


def listed(key: str, labels: Labels, numbers: ClassWeights) -> Tensor | None:
    """Return weights given as a list, one per class, or None if none are given.

    Args:
        key: The loss's key.
        labels: Facts about the training images.
        numbers: The given weights.

    Raises:
        ConfigError: When they do not fit the classes.
    """
    if numbers is None:
        return None
    if isinstance(numbers, str):
        fix = did_you_mean(numbers, ["balanced"], otherwise="use balanced, or a list")
        raise ConfigError(problem(f"loss.{key}", "is neither balanced nor a list", got=numbers, fix=fix))
    n = len(labels.counts)
    if len(numbers) != n or min(float(value) for value in numbers) < 0 or max(float(value) for value in numbers) == 0:
        fix = f"give {n} numbers >= 0, or balanced"
        raise ConfigError(problem(f"loss.{key}", "does not fit the classes", got=numbers, fix=fix))
    return torch.tensor([float(value) for value in numbers])


def sentence(key: str, balance: Balance, classes: Sequence[str]) -> str:
    """Describe the weights, and anything unusual about them, in a sentence.

    Args:
        key: The configuration key.
        balance: The weights.
        classes: The class names.
    """
    values = balance.values.tolist()
    clauses = [f"{name} {value:.3g}" for name, value in zip(classes, values, strict=True)]
    if len(clauses) > _NAMED:
        order = sorted((number for number in range(len(values)) if values[number] > 0), key=values.__getitem__)
        clauses = [f"from {clauses[order[0]]} to {clauses[order[-1]]}"] if order else ["all 0"]
    return "; ".join([f"{key}=balanced: {', '.join(clauses)}", *balance_notes(balance, classes)])


def balance_notes(balance: Balance, classes: Sequence[str]) -> list[str]:
    """Return clauses that name the classes absent from the training part, and those with bounded weights.

    Args:
        balance: The weights.
        classes: The class names.
    """
    clauses = []
    if balance.absent:
        clauses.append(f"the training part has nothing of {_names(balance.absent, classes)}: weight 0")
    if balance.bounded:
        clauses.append(f"{_names(balance.bounded, classes)} bounded at {balance.bound:.4g} times the smallest weight")
    return clauses


def _names(numbers: Sequence[int], classes: Sequence[str]) -> str:
    return listing([classes[number] for number in numbers], most=_NAMED)


def _numbers(flags: Tensor) -> tuple[int, ...]:
    return tuple(flags.nonzero()[:, 0].tolist())
