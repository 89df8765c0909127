"""A head in which the nearest training images vote: nothing is fitted, and its errors differ from those of a linear head.

Similarity is the cosine of features, and the weight of a vote is exp(similarity / temperature) (Wu et al. 2018; Caron et al.
2021). One more vote, as strong as the nearest image's, is divided like the classes of the training images, so that no
probability is zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mlpipe import kinds
from mlpipe.arch.classifier import Classifier
from mlpipe.config.schema import Recipe
from mlpipe.data.cache.packs import Pack
from mlpipe.data.sampling import Rows
from mlpipe.data.task import Task
from mlpipe.learn import exact_heads, linear_head
from mlpipe.learn.exact_heads import ExactHead
from mlpipe.learn.machine.hardware import full_precision
from mlpipe.post.ensembling.mixing import binary_cross_entropy, cross_entropy, squared_error

# Numbers of neighbours that inner folds choose among.
_NEIGHBOURS = (1, 2, 5, 10, 20, 50, 100, 200)
_SIZED = ("rows", "targets", "weights")
# Replaces unknown targets in a head, because weights files contain no NaN.
_UNKNOWN = 1e38


class Neighbours(nn.Module):
    """The votes of the nearest training images, instead of a network's linear head.

    Args:
        kind: The kind of predictions.
        outputs: The number of classes, labels or numbers.
        features: The number of features of an image.
        rows: The number of training images.
    """

    rows: Tensor
    targets: Tensor
    weights: Tensor
    share: Tensor
    count: Tensor
    temperature: Tensor

    def __init__(self, kind: str, outputs: int, features: int, rows: int = 0) -> None:
        super().__init__()
        self._facts = kinds.of(kind)
        self.register_buffer("rows", torch.zeros(rows, features))
        self.register_buffer("targets", torch.zeros(rows, outputs))
        self.register_buffer("weights", torch.ones(rows))
        self.register_buffer("share", torch.zeros(outputs))
        self.register_buffer("count", torch.tensor(1))
        self.register_buffer("temperature", torch.tensor(0.07))

    def take_sizes(self, state: Mapping[str, Tensor]) -> None:
        """Allocate buffers for as many training images as a stored head has.

        Args:
            state: The stored tensors by buffer name.
        """
        for name in _SIZED:
            if name in state:
                setattr(self, name, torch.zeros_like(state[name], device=self.share.device))

    def forward(self, features: Tensor) -> Tensor:
        """Return log-probabilities of classes, log-odds of labels, or numbers, shape (n, outputs).

        Args:
            features: Shape (n, features).
        """
        if not len(self.rows):
            return self.share.expand(len(features), -1)
        similar = self._cosines(features)
        mean = _votes(
            similar,
            self._goals,
            self.weights,
            self.share if self._facts.has_probabilities else None,
            self.count.clamp(max=len(self.rows)),
            self.temperature,
        )
        return _outputs(mean, self._facts)

    def _cosines(self, features: Tensor) -> Tensor:
        """Return cosines of n images with the training images, shape (n, rows), always in single precision.

        With a temperature of 0.07, a half-precision rounding error of 1/256 changes a vote by six percent and creates ties.

        Args:
            features: Shape (n, features).
        """
        with full_precision(features.device.type):
            return nn.functional.normalize(features.float(), dim=1) @ self.rows.T

    @property
    def _goals(self) -> Tensor:
        """The targets, with NaN for unknown ones."""
        return self.targets.masked_fill(self.targets >= _UNKNOWN, float("nan"))

    @property
    def has_evidence(self) -> bool:
        """Whether outputs are classes or labels, for which `evidence` is defined."""
        return self._facts.has_probabilities

    def evidence(self, features: Tensor, classes: Tensor) -> Tensor:
        """Return the log of the votes for one class or label of each image from its own nearest images, shape (n,).

        In `forward` the votes of all classes are relative to the nearest image's, so that the probability of that image's class
        hardly depends on the features. These votes are not relative, and increase with every similarity.

        Args:
            features: Shape (n, features).
            classes: The number of the class or label, shape (n,).
        """
        similar = self._cosines(features) / self.temperature
        votes = (self._goals.nan_to_num() * self.weights[:, None]).T[classes]
        logs = similar + votes.clamp(min=1e-30).log()
        return logs.topk(int(self.count.clamp(max=len(self.rows))), dim=1).values.logsumexp(1)


@dataclass(frozen=True)
class NearestHead(ExactHead):
    """Settings of the vote of the nearest training images.

    Attributes:
        neighbours: Number of voting images; None: inner folds choose.
        temperature: Divisor of similarities.
        inner_folds: Folds of the training images used to choose.
    """

    neighbours: int | None
    temperature: float
    inner_folds: int

    def layer(self, kind: str, layer: nn.Linear) -> nn.Module:
        """Return a head without training images."""
        return Neighbours(kind, layer.out_features, layer.in_features)

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
        """Store the training images in a network's head, and choose how many vote by inner folds; see `ExactHead.learn`."""
        balanced = exact_heads.balances(recipe, task.samples.learned)
        features = exact_heads.training_features(recipe, network, pack, rows, should_stop)[:, 0]
        assert isinstance(network, Classifier)
        layer = network.heads[target]
        assert isinstance(layer, Neighbours)
        scale = [getattr(network, f"{target}_{name}", None) for name in ("mean", "std")]
        goals, weights, share = _goals(balanced, task, rows, scale)
        vectors = nn.functional.normalize(torch.from_numpy(features), dim=1)
        count, loss = _best_count(recipe, self, task, rows, vectors, goals, weights)
        device = layer.share.device
        layer.rows, layer.weights = vectors.to(device), weights.to(device)
        layer.targets = as_stored(goals).to(device)
        layer.share, layer.count = share.to(device), torch.tensor(count, device=device)
        layer.temperature = torch.tensor(self.temperature, device=device)
        return loss


def as_stored(goals: Tensor) -> Tensor:
    """Return targets as stored in a head, with a number instead of NaN."""
    return goals.nan_to_num(nan=_UNKNOWN)


def _goals(balanced: bool, task: Task, rows: Rows, scale: list[Tensor | None]) -> tuple[Tensor, Tensor, Tensor]:
    """Return targets as output by the head, shape (n, outputs), row weights, and the mean target, all float32."""
    facts, targets, outputs = kinds.of(task.kind), task.samples.learned[rows], len(task.classes)
    weights = np.ones(len(rows)) if task.samples.weights is None else task.samples.weights[rows]
    if facts.has_classes:
        if balanced:
            weights = linear_head.class_weighted(targets, weights)
        goals = torch.eye(outputs)[torch.from_numpy(np.asarray(targets, np.int64))]
    else:
        goals = torch.from_numpy(np.asarray(targets, np.float32)).reshape(len(rows), -1)
        mean, std = scale
        if mean is not None and std is not None:
            goals = (goals - mean.cpu()) / std.cpu()
    votes = torch.from_numpy(np.asarray(weights, np.float32))
    return goals, votes, _mean(goals, votes)


def _mean(goals: Tensor, votes: Tensor) -> Tensor:
    known = ~goals.isnan() * votes[:, None]
    mean: Tensor = (goals.nan_to_num() * known).sum(0) / known.sum(0).clamp(min=1e-12)
    return mean


def _best_count(
    recipe: Recipe, how: NearestHead, task: Task, rows: Rows, vectors: Tensor, goals: Tensor, weights: Tensor
) -> tuple[int, float]:
    """Return the number of neighbours with the least mean loss over inner folds, and that loss."""
    facts, targets = kinds.of(task.kind), task.samples.learned[rows]
    most = (
        [how.neighbours]
        if how.neighbours is not None
        else [candidate for candidate in _NEIGHBOURS if candidate < len(rows)] or [1]
    )
    strata = targets if targets.ndim == 1 else np.zeros(len(rows))
    folds = list(
        linear_head.inner_folds(strata, linear_head.units(task, rows), how.inner_folds, recipe.seed, facts.has_classes)
    )
    losses = np.zeros((len(folds), len(most)))
    for number, (learns, held) in enumerate(folds):
        similar = vectors[held] @ vectors[learns].T
        share = _mean(goals[learns], weights[learns]) if facts.has_probabilities else None
        for place, count in enumerate(most):
            count = min(count, len(learns))
            mean = _votes(similar, goals[learns], weights[learns], share, count, how.temperature)
            outputs = _outputs(mean, facts).double().numpy()
            losses[number, place] = _mean_loss(outputs, targets[held], goals[held].double().numpy(), facts)
    if not len(folds):
        return most[len(most) // 2], float("nan")
    of_counts = losses.mean(axis=0)
    return most[int(np.argmin(of_counts))], float(of_counts.min())


def _mean_loss(outputs: npt.NDArray[Any], targets: npt.NDArray[Any], goals: npt.NDArray[Any], facts: Any) -> float:
    if facts.has_classes:
        return cross_entropy(outputs, targets)
    return binary_cross_entropy(outputs, goals) if facts.has_probabilities else squared_error(outputs, goals)


def _votes(
    similar: Tensor, targets: Tensor, weights: Tensor, share: Tensor | None, count: Any, temperature: Any
) -> Tensor:
    """Return the weighted mean of the nearest images' targets, shape (m, outputs).

    Args:
        similar: Cosines of m images with n training images, shape (m, n).
        targets: Shape (n, outputs); NaN is unknown and does not vote.
        weights: Weights of training images, shape (n,).
        share: The target of one more vote, as strong as the nearest image's; None: no additional vote.
        count: Number of voting images.
        temperature: Divisor of similarities.
    """
    nearest, who = similar.topk(int(count), dim=1)
    votes = ((nearest - nearest[:, :1]) / temperature).exp() * weights[who]
    chosen = targets[who]
    known = ~chosen.isnan() * votes[:, :, None]
    total: Tensor = (chosen.nan_to_num() * known).sum(1)
    mass: Tensor = known.sum(1)
    if share is not None:
        total, mass = total + share, mass + 1
    return total / mass.clamp(min=1e-12)


def _outputs(mean: Tensor, facts: Any) -> Tensor:
    """Convert mean targets to a head's outputs."""
    if not facts.has_probabilities:
        return mean
    # Classes without training images keep a probability that float32 distinguishes from zero.
    mean = mean.clamp(1e-13, 1)
    return mean.log() if facts.has_classes else mean.clamp(max=1 - 1e-6).logit()
