"""Training without steps: an exact fit of the head in the optimizer's place, or no training at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from mlpipe.learn.linear_head import LinearHead
from mlpipe.learn.nearest_head import NearestHead
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


def linear(
    groups: Groups,
    *,
    strengths: Annotated[int, ">= 1"] = 8,
    inner_folds: Annotated[int, ">= 2"] = 5,
    max_iter: Annotated[int, ">= 1"] = 300,
    flips: bool = False,
) -> LinearHead:
    """Fit the head exactly in place of an optimizer's steps; the recipe's epochs and schedule are not used.

    With flips, images and mirror images are rows of half the weight, which stay in one inner fold, and predictions are made
    from the mean of an image's two features: for a linear head, the mean of both views' logits.

    Args:
        groups: Parameter groups (not used: the features and targets decide).
        strengths: How many strengths of the penalty are tried.
        inner_folds: Folds of the training images that choose among them.
        max_iter: The most iterations of one fit.
        flips: Learn from mirror images too, and predict the mean of both views.
    """
    return LinearHead(strengths, inner_folds, max_iter, flips)


def nearest(
    groups: Groups,
    *,
    neighbours: Annotated[int, ">= 1"] | None = None,
    temperature: Annotated[float, "> 0"] = 0.07,
    inner_folds: Annotated[int, ">= 2"] = 5,
) -> NearestHead:
    """Let the nearest training images vote in place of an optimizer's steps (Wu et al. 2018; Caron et al. 2021).

    Args:
        groups: Parameter groups (not used: the features decide).
        neighbours: How many vote; None: inner folds choose among 1 to 200.
        temperature: A vote weighs exp(cosine of the features / temperature).
        inner_folds: Folds of the training images that choose.
    """
    return NearestHead(neighbours, temperature, inner_folds)
