"""Weighted sums of losses such as `ce+0.1*dice`, read by a small grammar; nothing is evaluated.

The meaning of a name depends on the task's kind, see `_loss_builders`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mlpipe import formulas
from mlpipe.errors import ConfigError, did_you_mean, listing, problem
from mlpipe.learn.losses import probabilities as probability_losses
from mlpipe.learn.losses.auto import auto
from mlpipe.learn.losses.cross_entropy import bce, ce, nll
from mlpipe.learn.losses.focal import asymmetric, focal, poly1
from mlpipe.learn.losses.labels import Labels, facts
from mlpipe.learn.losses.means import mean_of_rows, probabilities
from mlpipe.learn.losses.numbers import huber, mae, mse, smooth_l1
from mlpipe.learn.losses.overlap import dice, jaccard, lovasz

Build = Callable[[], nn.Module]

_OF_OUTPUTS = (auto, ce, nll, focal, poly1, bce, asymmetric, mse, mae, huber, smooth_l1)
_OF_MASKS = (auto, ce, focal, dice, jaccard, lovasz)
_OF_IMAGES = (auto, bce, mse, mae, huber, smooth_l1)


def composite(labels: Labels, *, expression: Annotated[str, "a sum of losses"]) -> nn.Module:
    """A weighted sum of losses, such as `ce+0.1*dice`.

    Args:
        labels: Facts about the training images.
        expression: Numbers and losses joined by `*`, terms by `+`: `auto`, `ce`, `focal` and so on with their defaults, and
            the losses of `mlpipe.learn.losses.probabilities`, except for masks and target images.

    Raises:
        ConfigError: When it cannot be parsed, or names a loss that is unknown or does not fit the task's kind.
    """
    return summed(labels, expression, {})


def summed(labels: Labels, expression: str, functions: Mapping[str, Build]) -> nn.Module:
    """Build the sum that an expression describes.

    Args:
        labels: Facts about the training images.
        expression: As for `composite`.
        functions: The user's own functions by name, which take precedence over losses of the same name; not used for masks
            and target images.

    Raises:
        ConfigError: As for `composite`.
    """
    terms, own = formulas.terms(expression), {} if labels.facts.is_dense else functions
    loss_names = [name for _, name in terms if name not in own]
    meanings = _loss_builders(labels)
    if wrong := _fit_problems(labels, loss_names, [*own, *meanings]):
        raise ConfigError(wrong)
    shares, parts = [weight for weight, _ in terms], [{**meanings, **own}[name]() for _, name in terms]
    # The user's own functions refuse weights themselves where necessary.
    together = [name for name in loss_names if name in _batch_losses(labels)]
    return BatchSum(shares, parts, list(dict.fromkeys(together))) if together else Sum(shares, parts)


def _loss_builders(labels: Labels) -> dict[str, Build]:
    """Return the losses that an expression may name, in the order in which errors list them.

    For masks `dice`, `jaccard` and `lovasz` are those of `loss=NAME`, over pixels; for classes and labels they are formulas
    over the outputs of an image. `poisson` is a deviance; the equation `loss=poisson` cannot be part of a sum.
    """

    def built(losses: Sequence[Callable[[Labels], nn.Module]]) -> dict[str, Build]:
        return {loss.__name__: partial(loss, labels) for loss in losses}

    if labels.facts.is_dense:
        return built(_OF_MASKS if labels.facts.excludes else _OF_IMAGES)
    return {
        **built(_OF_OUTPUTS),
        **{name: partial(OnProbabilities, name, labels.kind) for name in probability_losses.ALL},
    }


def _batch_losses(labels: Labels) -> Sequence[str]:
    """Return the losses that give one number for a whole batch and cannot weight images."""
    if labels.facts.is_dense:
        return [loss.__name__ for loss in (dice, jaccard, lovasz)] if labels.facts.excludes else []
    return list(probability_losses.TOGETHER)


def _fit_problems(labels: Labels, names: Sequence[str], known: Sequence[str]) -> list[str]:
    """Return a sentence for each unknown name, and for each loss that does not apply to numbers."""
    if labels.facts.is_dense:
        noun, fix = "masks" if labels.facts.excludes else "target images", f"use {listing(known, most=10)}"
        wrong = sorted(set(names) - set(known))
        return [problem("loss.expression", f"is no loss of {noun}", got=name, fix=fix) for name in wrong]
    problems = [
        problem(
            "loss.expression",
            "unknown loss",
            got=name,
            fix=did_you_mean(name, known, otherwise=listing(known, most=40)),
        )
        for name in names
        if name not in known
    ]
    of_numbers = probability_losses.OF_NUMBERS | (probability_losses.OF_UNITS if labels.in_units else set())
    unfit = [name for name in names if name in probability_losses.ALL and name not in of_numbers]
    return problems + [_unfit_for_numbers(name) for name in (unfit if labels.facts.of_numbers else ())]


def _unfit_for_numbers(name: str) -> str:
    if name in probability_losses.OF_UNITS:
        wrong = f"{name} is of numbers in their unit, this task's are learned in standard deviations"
        fix = "use squared_error, or task.heads with activations and loss=heads"
        return problem("loss.expression", wrong, fix=fix)
    return problem("loss.expression", f"{name} is for probabilities, this task has numbers", fix="use squared_error")


class OnProbabilities(nn.Module):
    """A loss of probabilities that is called with raw outputs: softmax for classes, sigmoid for labels, numbers unchanged.

    Args:
        name: A name in `probability_losses.EACH` or `TOGETHER`.
        kind: The kind of predictions.
    """

    def __init__(self, name: str, kind: str) -> None:
        super().__init__()
        self._kind = kind
        self.weighs = name in probability_losses.EACH
        of_shares = {} if facts(kind).of_numbers else probability_losses.OF_SHARES
        self._loss = {**probability_losses.ALL, **of_shares}[name]
        self._on_logits = name == "lovasz"

    def forward(self, outputs: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return the weighted mean over images, or the single number of the batch."""
        is_hard = target.ndim == 1 and facts(self._kind).excludes
        truth = (F.one_hot(target, outputs.shape[1]) if is_hard else target).to(outputs.dtype)
        known = (~truth.isnan()).to(outputs.dtype)
        prediction = outputs if self._on_logits else probabilities(outputs, self._kind)
        values = self._loss(truth.nan_to_num(0.0), prediction, known)
        if not self.weighs:
            return values
        some = (known.sum(1) > 0).to(values.dtype) * (1.0 if weight is None else weight.to(values.dtype))
        return mean_of_rows(values, some)


class Sum(nn.Module):
    """A weighted sum of losses.

    Args:
        weights: The weight of each loss.
        losses: The losses, called with outputs, targets and image weights.
    """

    def __init__(self, weights: Sequence[float], losses: Sequence[nn.Module]) -> None:
        super().__init__()
        self._weights, self.losses = list(weights), nn.ModuleList(losses)

    def forward(self, outputs: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return the sum for a batch."""
        values = [
            share * (loss(outputs, target) if weight is None else loss(outputs, target, weight))
            for share, loss in zip(self._weights, self.losses, strict=True)
        ]
        total: Tensor = sum(values[1:], values[0])
        return total


class BatchSum(Sum):
    """A weighted sum with a loss that gives one number for a whole batch and cannot weight images.

    Args:
        weights: The weight of each loss.
        losses: The losses.
        unweighing: The names of the losses that give one number for a batch.
    """

    def __init__(self, weights: Sequence[float], losses: Sequence[nn.Module], unweighing: Sequence[str]) -> None:
        super().__init__(weights, losses)
        self.unweighing = tuple(unweighing)

    def forward(self, outputs: Tensor, target: Tensor) -> Tensor:  # type: ignore[override]
        """Return the sum for a batch."""
        return super().forward(outputs, target)
