"""Heads that are computed at once from a frozen backbone's features, instead of by optimizer steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from mlpipe.arch.classifier import Classifier
from mlpipe.config import rules
from mlpipe.config.schema import Recipe
from mlpipe.data import sampling
from mlpipe.data.cache.packs import Pack
from mlpipe.data.sampling import Rows
from mlpipe.data.task import Task
from mlpipe.errors import ConfigError, problem
from mlpipe.learn import features
from mlpipe.learn.build.loaders import build_sampling


@dataclass(frozen=True)
class ExactHead:
    """A head computed at once, in place of an optimizer; functions that build one are annotated to return it."""

    def layer(self, kind: str, layer: nn.Linear) -> nn.Module:
        """Return the replacement of a network's linear head.

        Args:
            kind: The kind of the task.
            layer: The linear head.
        """
        return layer

    @property
    def is_mirrored(self) -> bool:
        """Whether it is computed from images and mirror images, and predicts the mean of both."""
        return False

    def learn(
        self,
        recipe: Recipe,
        network: nn.Module,
        task: Task,
        rows: Rows,
        pack: Pack,
        target: str,
        should_stop: Callable[[], None] = lambda: None,
    ) -> float:
        """Compute a network's head from the features of some rows, and put it in.

        Args:
            recipe: The recipe, whose optimizer is this head.
            network: A classifier with a frozen backbone.
            task: The task.
            rows: The training rows.
            pack: The cached images.
            target: The head's name.
            should_stop: Called while features are computed; raises to stop.

        Returns:
            The mean loss over the inner folds; NaN without inner folds.

        Raises:
            ConfigError: When the backbone is not a frozen timm network.
        """
        raise NotImplementedError


def of(recipe: Recipe) -> ExactHead | None:
    """Return the exact head of a recipe; None if it takes steps, or trains nothing."""
    if not applies(recipe):
        return None
    head: ExactHead = recipe.optimizer.build([])
    return head


def applies(recipe: Recipe) -> bool:
    """Whether a recipe's head is computed from features at once, without steps."""
    return rules.EXACT in recipe.optimizer.gives


def balances(recipe: Recipe, targets: npt.NDArray[Any]) -> bool:
    """Whether all classes have equal weight regardless of frequency, by the loss or by the sampling of epochs.

    Args:
        recipe: The recipe.
        targets: As in `mlpipe.data.task.Samples.targets`.

    Raises:
        DataError: When the sampling balances classes, but there are none.
    """
    if build_sampling(recipe).balances:
        sampling.require_classes(targets)
        return True
    return bool(recipe.loss.params.get("class_weights") == "balanced")


def has_no_steps(recipe: Recipe) -> bool:
    """Whether a recipe takes no optimizer steps, because its head is computed at once or nothing is trained."""
    return recipe.optimizer.is_none or applies(recipe)


def training_features(
    recipe: Recipe, network: nn.Module, pack: Pack, rows: Rows, should_stop: Callable[[], None]
) -> npt.NDArray[np.float32]:
    """Return the features for a head, shape (rows, views, features); arguments as for `ExactHead.learn`.

    Raises:
        ConfigError: When the backbone is not a frozen timm network.
    """
    if not isinstance(network, Classifier) or not features.applies(recipe, network):
        fix = "add arch.freeze=true augmentations=none"
        wrong = "makes the head of a frozen timm network"
        raise ConfigError(problem(f"optimizer={recipe.optimizer.name}", wrong, fix=fix))
    return features.view_features(network, pack, rows, should_stop)
