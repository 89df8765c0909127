"""Training without optimizer steps: an exact fit of the head, or no training at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from mlpipe.learn.linear_head import LinearHead
from mlpipe.learn.nearest_head import NearestHead
from mlpipe.learn.optimizers.parameter_groups import Groups


@dataclass(frozen=True)
class NoSteps:
    """No optimizer steps."""


def none(groups: Groups) -> NoSteps:
    """No training: the network keeps its initial weights, and the recipe's epochs and schedule are not used.

    Args:
        groups: Parameter groups (not used).
    """
    return NoSteps()


def linear(
    groups: Groups,
    *,
    strengths: Annotated[int, ">= 1"] = 8,
    inner_folds: Annotated[int, ">= 2"] = 5,
    max_iter: Annotated[int, ">= 1"] = 300,
    flips: bool = False,
) -> LinearHead:
    """Fit the head exactly instead of by optimizer steps; the recipe's epochs and schedule are not used.

    With flips, images and mirror images are rows of half weight in the same inner fold, and predictions are made from the
    mean of an image's two features, which for a linear head is the mean of both views' logits.

    Args:
        groups: Parameter groups (not used: the fit depends on features and targets only).
        strengths: Number of penalty strengths to try.
        inner_folds: Folds of the training images used to choose among them.
        max_iter: Maximum number of iterations of one fit.
        flips: Also learn from mirror images, and predict from the mean of both views.
    """
    return LinearHead(strengths, inner_folds, max_iter, flips)


def nearest(
    groups: Groups,
    *,
    neighbours: Annotated[int, ">= 1"] | None = None,
    temperature: Annotated[float, "> 0"] = 0.07,
    inner_folds: Annotated[int, ">= 2"] = 5,
) -> NearestHead:
    """Predict by a vote of the nearest training images, without optimizer steps (Wu et al. 2018; Caron et al. 2021).

    Args:
        groups: Parameter groups (not used: predictions depend on features only).
        neighbours: Number of voting neighbours; None: inner folds choose among 1 to 200.
        temperature: The weight of a vote is exp(cosine of the features / temperature).
        inner_folds: Folds of the training images used to choose.
    """
    return NearestHead(neighbours, temperature, inner_folds)
