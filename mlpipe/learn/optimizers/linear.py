"""Training without steps: an exact fit of the head in the optimizer's place, or no training at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from mlpipe.learn.optimizers.parameter_groups import Groups


@dataclass(frozen=True)
class NoSteps:
    """Nothing is stepped."""


def none(groups: Groups) -> NoSteps:
    """No training: the network stays as it starts, and the recipe's epochs and schedule are not used.

    Args:
        groups: Parameter groups (not used).
    """
    return NoSteps()


@dataclass(frozen=True)
class LinearHead:
    """How a head is fitted.

    Attributes:
        strengths: How many strengths of the penalty are tried, from 10^-4 to 10 in even steps of the logarithm.
        inner_folds: Folds of the training images that choose among them.
        max_iter: The most iterations of one fit.
    """

    strengths: int
    inner_folds: int
    max_iter: int


def linear(
    groups: Groups,
    *,
    strengths: Annotated[int, ">= 1"] = 8,
    inner_folds: Annotated[int, ">= 2"] = 5,
    max_iter: Annotated[int, ">= 1"] = 300,
) -> LinearHead:
    """Fit the head exactly in place of an optimizer's steps; the recipe's epochs and schedule are not used.

    Args:
        groups: Parameter groups (not used: the features and targets decide).
        strengths: How many strengths of the penalty are tried.
        inner_folds: Folds of the training images that choose among them.
        max_iter: The most iterations of one fit.
    """
    return LinearHead(strengths, inner_folds, max_iter)
