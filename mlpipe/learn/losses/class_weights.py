"""Class weights by which rare classes count as much as frequent ones, bounded, and announced before the training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mlpipe.errors import ConfigError, did_you_mean, listing, problem
from mlpipe.learn.losses.labels import Labels

ClassWeights = Literal["balanced"] | list[float] | None


# The largest weight is at most so many times the smallest: a class that comes less often than a thousandth of the most
# frequent one counts as if it came that often. Beyond that a few pixels or images would be all that a step learns from.
MOST = 1000.0
BALANCED = "balanced"
# With so many classes a sentence names the extremes only.
_NAMED = 12


@dataclass(frozen=True)
class Balance:
    """Weights that were computed from how often classes come.

    Attributes:
        values: Shape (classes,); 0 for classes that do not come.
        absent: The numbers of those.
        bounded: The numbers of the classes whose weight would be beyond the bound.
        bound: How many times the smallest weight the largest may be; of positives against negatives, the largest.
    """

    values: Tensor
    absent: tuple[int, ...]
    bounded: tuple[int, ...]
    bound: float


def of_classes(counts: Tensor, label_smoothing: float = 0.0) -> Balance:
    """n / (classes * count), as scikit-learn's `balanced`, of the classes that come; the others have the weight 0.

    Where the target is smoothed, each class's share of it counts with that class's weight (torch.nn.CrossEntropyLoss). The
    bound is then so low that what all images give to a rare class stays below half of what they give to their own.

    Args:
        counts: How often each class comes, whole numbers, shape (classes,).
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
    """Negatives over positives of each label, among the images where it is known, between 1 / `MOST` and `MOST`.

    A label that holds nowhere has the weight 0.

    Args:
        counts: How often each label holds, whole numbers, shape (labels,).
        known: How often each is known, alike.
    """
    present = counts > 0
    raw = ((known - counts).clamp(min=1) / counts.clamp(min=1)).float()
    values = torch.where(present, raw.clamp(1 / MOST, MOST), torch.zeros_like(raw))
    return Balance(values, _numbers(~present), _numbers(present & (values != raw)), MOST)


def weights(labels: Labels, class_weights: ClassWeights, label_smoothing: float = 0.0) -> Tensor | None:
    """The weight of each class, shape (classes,).

    Args:
        labels: What is known of the training images.
        class_weights: `balanced` (see `of_classes`), a number for each class, or None.
        label_smoothing: Of a loss in which each class's share of the smoothed target counts with its own weight.

    Raises:
        ConfigError: When a list has another length than there are classes, or is not positive.
    """
    if class_weights == "balanced":
        return of_classes(labels.counts, label_smoothing).values if labels.counts.any() else None
    return listed("class_weights", labels, class_weights)


def listed(key: str, labels: Labels, numbers: ClassWeights) -> Tensor | None:
    """Weights that were given, a number for each class; None where there are none.

    Args:
        key: The loss's key.
        labels: What is known of the training images.
        numbers: The numbers.

    Raises:
        ConfigError: When they do not fit.
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
    """The weights in a sentence, and anything unusual about them, for a person.

    Args:
        key: The configuration's key.
        balance: The weights.
        classes: The classes' names.
    """
    values = balance.values.tolist()
    clauses = [f"{name} {value:.3g}" for name, value in zip(classes, values, strict=True)]
    if len(clauses) > _NAMED:
        order = sorted((number for number in range(len(values)) if values[number] > 0), key=values.__getitem__)
        clauses = [f"from {clauses[order[0]]} to {clauses[order[-1]]}"] if order else ["all 0"]
    return "; ".join([f"{key}=balanced: {', '.join(clauses)}", *balance_notes(balance, classes)])


def balance_notes(balance: Balance, classes: Sequence[str]) -> list[str]:
    """Which classes do not come in the training part, and which are bounded, each in a clause.

    Args:
        balance: The weights.
        classes: The classes' names.
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
