"""Heads that are made of a frozen backbone's features at once, in place of an optimizer's steps."""

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
    """What an optimizer's place holds where the head is made at once; whatever builds one is annotated to return it."""

    def layer(self, kind: str, layer: nn.Linear) -> nn.Module:
        """What a network has in place of its linear head.

        Args:
            kind: The kind of the task.
            layer: The linear head.
        """
        return layer

    @property
    def is_mirrored(self) -> bool:
        """Whether it is made of the images and their mirror images, and predicts the mean of both."""
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
        """Make a network's head of the features of some rows, and put it in.

        Args:
            recipe: How to learn; its optimizer built this.
            network: A classifier whose backbone is frozen.
            task: The task.
            rows: The training rows.
            pack: The cached images.
            target: The head's name.
            should_stop: Called while features are computed; raises to stop.

        Returns:
            The mean loss over the inner folds; NaN where there are none.

        Raises:
            ConfigError: When the backbone is not a frozen one of timm.
        """
        raise NotImplementedError


def of(recipe: Recipe) -> ExactHead | None:
    """What makes a recipe's head at once; None: it takes steps, or learns nothing."""
    if not applies(recipe):
        return None
    head: ExactHead = recipe.optimizer.build([])
    return head


def applies(recipe: Recipe) -> bool:
    """Whether a recipe's head is made of features at once, in no steps."""
    return rules.EXACT in recipe.optimizer.gives


def balances(recipe: Recipe, targets: npt.NDArray[Any]) -> bool:
    """Whether every class counts as much, however frequent: by the loss, or as epochs would be sampled.

    Args:
        recipe: The recipe.
        targets: As `mlpipe.data.task.Samples.targets`.

    Raises:
        DataError: When epochs would be sampled so, and there are no classes.
    """
    if build_sampling(recipe).balances:
        sampling.require_classes(targets)
        return True
    return bool(recipe.loss.params.get("class_weights") == "balanced")


def has_no_steps(recipe: Recipe) -> bool:
    """Whether a recipe takes no steps of an optimizer: its head is made at once, or nothing is learned."""
    return recipe.optimizer.is_none or applies(recipe)


def training_features(
    recipe: Recipe, network: nn.Module, pack: Pack, rows: Rows, should_stop: Callable[[], None]
) -> npt.NDArray[np.float32]:
    """The features that a head is made of, shape (rows, views, features); arguments as of `ExactHead.learn`.

    Raises:
        ConfigError: When the backbone is not a frozen one of timm.
    """
    if not isinstance(network, Classifier) or not features.applies(recipe, network):
        fix = "add arch.freeze=true augmentations=none"
        wrong = "makes the head of a frozen timm network"
        raise ConfigError(problem(f"optimizer={recipe.optimizer.name}", wrong, fix=fix))
    return features.view_features(network, pack, rows, should_stop)
