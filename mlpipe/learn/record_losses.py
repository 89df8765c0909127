"""Keras's losses by Keras's names, weighed as Keras weighs: the weighted sum over a batch by the number of its samples.

Source: the documentation of `keras.losses`; `mlpipe.learn.probability_losses` has the formulas, the tests Keras itself.
"""

from __future__ import annotations

from typing import Annotated

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mlpipe.errors import ConfigError, did_you_mean, listing, problem
from mlpipe.learn import probability_losses
from mlpipe.learn.losses import Labels

# Keras's name in snake case -> the function of `probability_losses`; the cross-entropies are further below.
NAMES = {
    "mean_squared_error": "squared_error",
    "mean_absolute_error": "absolute_error",
    "mean_absolute_percentage_error": "percentage_error",
    "mean_squared_logarithmic_error": "squared_log_error",
    "log_cosh": "log_cosh",
    "huber": "huber_error",
    "kl_divergence": "kl_divergence",
    "poisson": "poisson",
    "cosine_similarity": "cosine",
    "categorical_hinge": "categorical_hinge",
}
ENTROPIES = ("categorical_crossentropy", "sparse_categorical_crossentropy", "binary_crossentropy")
# The least and the largest probability that a cross-entropy sees, as Keras clips them.
_TINY = 1e-7


class KerasLoss(nn.Module):
    """One of them.

    Args:
        name: Keras's name in snake case.
        kind: What is predicted: the outputs are logits of classes or labels, or numbers.
        smoothing: The share of the targets that is spread over all classes (over 0 and 1 for labels).
    """

    def __init__(self, name: str, kind: str, smoothing: float) -> None:
        super().__init__()
        self._name, self._kind, self._smoothing = name, kind, smoothing

    def forward(self, outputs: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The mean over samples of weight times loss.

        Args:
            outputs: Logits or numbers, shape (n, outputs).
            target: Class numbers (n,), or shape (n, outputs).
            weight: Shape (n,).
        """
        values = self._each(outputs, target)
        return values.mean() if weight is None else (values * weight.to(values.dtype)).mean()

    def _each(self, outputs: Tensor, target: Tensor) -> Tensor:
        """The loss of each sample, shape (n,)."""
        if self._kind == "classification":
            classes = outputs.shape[1]
            wanted = F.one_hot(target, classes) if target.ndim == 1 else target
            smooth = wanted.to(outputs.dtype) * (1 - self._smoothing) + self._smoothing / classes
            return -(smooth * outputs.log_softmax(1)).sum(1)
        if self._kind == "multilabel":
            smooth = target.to(outputs.dtype) * (1 - self._smoothing) + 0.5 * self._smoothing
            return F.binary_cross_entropy_with_logits(outputs, smooth, reduction="none").mean(1)
        wanted = target.to(outputs.dtype)
        return probability_losses.EACH[NAMES[self._name]](wanted, outputs, wanted.new_ones(wanted.shape))


def keras(labels: Labels, *, name: str, label_smoothing: Annotated[float, ">= 0", "< 1"] = 0.0) -> nn.Module:
    """A loss of Keras.

    Args:
        labels: What is known of the training images.
        name: Keras's name in snake case, such as categorical_crossentropy or mean_squared_error.
        label_smoothing: For the cross-entropies of one-hot and of binary targets.

    Raises:
        ConfigError: When there is no such loss, or it is not for the task's kind.
    """
    known = (*ENTROPIES, *NAMES)
    if name not in known:
        fix = did_you_mean(name, known, otherwise=f"there are {listing(known, most=20)}")
        raise ConfigError(problem("loss.name", "there is no such loss", got=name, fix=fix))
    kind = "regression" if name in NAMES else "multilabel" if name == ENTROPIES[2] else "classification"
    if kind != labels.kind:
        raise ConfigError(
            problem("loss.name", f"is for {kind}, the task is {labels.kind}", got=name, fix="use another")
        )
    if label_smoothing and name not in (ENTROPIES[0], ENTROPIES[2]):
        raise ConfigError(problem("loss.label_smoothing", f"is not for {name}", got=label_smoothing, fix="use 0"))
    return KerasLoss(name, labels.kind, label_smoothing)
