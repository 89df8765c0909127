"""Keras's losses by Keras's names, weighed as Keras weighs: the weighted sum over a batch by the number of its samples.

Source: the documentation of `keras.losses`; `mlpipe.learn.losses.probabilities` has the formulas, the tests Keras itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, cast

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mlpipe.errors import ConfigError, did_you_mean, listing, problem
from mlpipe.learn.losses import probabilities
from mlpipe.learn.losses.labels import Labels, facts, fitting_kinds
from mlpipe.learn.losses.means import mean_of_each, weighted_mean
from mlpipe.learn.losses.own import OwnLoss
from mlpipe.learn.own_parts import own_classes
from mlpipe.post import kind as post_kind
from mlpipe.post import metrics
from mlpipe.post.metrics import Measure

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
    "hinge": "hinge",
    "squared_hinge": "squared_hinge",
}
ENTROPIES = ("categorical_crossentropy", "sparse_categorical_crossentropy", "binary_crossentropy")
# The least and the largest probability that a cross-entropy sees, as Keras clips them.
_TINY = 1e-7


def _own_loss(
    path: str, params: Mapping[str, Any] | None, labels: Labels, trust: Sequence[str] | None, scale: float
) -> OwnLoss:
    """An instance of a class of the user's own, or its method `call`, weighed as Keras weighs."""
    loss = own_classes.instance("loss", path, params, trust)
    function = getattr(loss, "call", loss)
    if not callable(function):
        fix = "give its class a method call(y_true, y_pred)"
        raise ConfigError(problem("loss", f"{path} cannot be called", got=type(loss).__name__, fix=fix))

    def mean(values: Tensor, weight: Tensor | None) -> Tensor:
        # Divided by the number of samples, whatever they weigh.
        return scale * (values if weight is None else values.reshape(len(values), -1).mean(1) * weight).mean()

    return OwnLoss(path, function, labels.kind, len(labels.counts), mean=mean, sample="sample")


class KerasLoss(nn.Module):
    """One of them.

    Attributes:
        kind: What is predicted.

    Args:
        name: Keras's name in snake case.
        kind: What is predicted: the outputs are logits of classes or labels, or numbers.
        smoothing: The share of the targets that is spread over all classes (over 0 and 1 for labels).
        scale: What the loss is multiplied by.
        delta: For `huber`, where squares end.
    """

    def __init__(self, name: str, kind: str, smoothing: float, scale: float = 1.0, delta: float = 1.0) -> None:
        super().__init__()
        self._name, self.kind, self._smoothing, self._scale, self._delta = name, kind, smoothing, scale, delta

    def forward(self, outputs: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The mean over samples of weight times loss, times the scale.

        Args:
            outputs: Logits or numbers, shape (n, outputs).
            target: Class numbers (n,), or shape (n, outputs); NaN: unknown, which is left out.
            weight: Shape (n,).
        """
        known = torch.ones_like(outputs, dtype=torch.bool) if target.ndim == 1 else ~target.isnan()
        values = self._sample_losses(
            outputs, target if target.ndim == 1 else target.nan_to_num(0.0), known.to(outputs.dtype)
        )
        some = known.any(1).to(values.dtype)
        # Keras divides by the number of samples, whatever they weigh.
        share = some if weight is None else some * weight.to(values.dtype)
        return self._scale * weighted_mean((values * share).sum(), some.sum())

    def _sample_losses(self, outputs: Tensor, target: Tensor, known: Tensor) -> Tensor:
        """The loss of each sample, shape (n,), over what is known of it."""
        if facts(self.kind).excludes:
            classes = outputs.shape[1]
            truth = F.one_hot(target, classes) if target.ndim == 1 else target
            smooth = truth.to(outputs.dtype) * (1 - self._smoothing) + self._smoothing / classes
            return -(smooth * outputs.log_softmax(1)).sum(1)
        if facts(self.kind).of_labels:
            smooth = target.to(outputs.dtype) * (1 - self._smoothing) + 0.5 * self._smoothing
            return mean_of_each(F.binary_cross_entropy_with_logits(outputs, smooth, reduction="none"), known)
        truth = target.to(outputs.dtype)
        if self._name == "huber":
            return mean_of_each(F.huber_loss(outputs, truth, reduction="none", delta=self._delta), known)
        return probabilities.EACH[NAMES[self._name]](truth, outputs, known)


@dataclass(frozen=True)
class _Part:
    """One of several outputs: its loss and weight, its metrics by name, those of the user's own, how many numbers it has."""

    name: str
    loss: KerasLoss | OwnLoss
    weight: float
    metrics: list[str]
    own: Mapping[str, Measure]
    width: int


class Together(nn.Module):
    """The weighted sum of the losses of several outputs, whose probabilities or numbers stand side by side.

    Args:
        parts: Each output's name, loss, weight and metrics, and how many numbers it has.
    """

    def __init__(self, parts: Sequence[_Part]) -> None:
        super().__init__()
        self._names, self._weights = [part.name for part in parts], [part.weight for part in parts]
        self.losses = nn.ModuleList([part.loss for part in parts])
        self._metrics, self._own = [part.metrics for part in parts], [part.own for part in parts]
        self._widths = [part.width for part in parts]

    def forward(self, outputs: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The sum over outputs of their weight times their loss.

        Args:
            outputs: Probabilities or numbers, shape (n, all outputs' widths).
            target: The same, one-hot for classes.
            weight: Shape (n, outputs).
        """
        total = outputs.new_zeros(())
        for number, (values, truth) in enumerate(self._parts(outputs, target)):
            own = None if weight is None else weight[:, number]
            total = total + self._weights[number] * self.losses[number](values, truth, own)
        return total

    def measured(self, outputs: Tensor, target: Tensor, weight: Tensor | None = None) -> dict[str, float]:
        """The loss, weighed where there are weights, and the metrics of each output: `OUTPUT_loss`, `OUTPUT_METRIC`.

        Args:
            outputs: As for `forward`.
            target: As for `forward`.
            weight: As for `forward`.
        """
        results = {}
        for number, (values, truth) in enumerate(self._parts(outputs, target)):
            loss, name = cast(KerasLoss, self.losses[number]), self._names[number]
            own = None if weight is None else weight[:, number]
            results[f"{name}_loss"] = float(loss(values, truth, own))
            plain = truth.argmax(1) if facts(loss.kind).excludes else truth
            arrays = values.cpu().numpy(), plain.cpu().numpy()
            scores = metrics.compute(self._metrics[number], *arrays, loss.kind, self._own[number])
            results |= {f"{name}_{metric}": value for metric, value in scores.items()}
        return results

    def _parts(self, outputs: Tensor, target: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Logits (or numbers) and targets of each output."""
        pairs = zip(torch.split(outputs, self._widths, 1), torch.split(target, self._widths, 1), strict=True)
        for loss, (values, truth) in zip(self.losses, pairs, strict=True):
            yield as_logits(values, cast(KerasLoss, loss).kind), truth


def as_logits(values: Tensor, kind: str) -> Tensor:
    """Probabilities of classes or labels as logits that give them again; numbers as they are.

    Args:
        values: Shape (n, outputs).
        kind: What is predicted.
    """
    its = facts(kind)
    if its.excludes:
        return (values / values.sum(1, keepdim=True)).clamp(_TINY, 1 - _TINY).log()
    return values.clamp(_TINY, 1 - _TINY).logit() if its.of_labels else values


def keras_outputs(labels: Labels, *, parts: list[dict[str, Any]], trust: list[str] | None = None) -> nn.Module:
    """A loss of Keras for each of several outputs of records, weighed and summed.

    Args:
        labels: What is known of the training images.
        parts: For each output in its order `name`, `loss` (Keras's name, or MODULE.NAME of a class of your own, with its
            `params` and the `kind` of the output), `weight`, `label_smoothing`, `delta` and `metrics`, names or
            `{import, params, name}`.
        trust: Modules outside the current folder whose code may run.

    Raises:
        ConfigError: When there are other outputs, or a part is wrong.
    """
    if len(labels.widths) != len(parts):
        wrong = f"has {len(parts)} parts, the records have {len(labels.widths) or 1} outputs"
        raise ConfigError(problem("loss.parts", wrong, fix="give one for each, or use loss=keras for one output"))
    loss_parts = []
    for number, (part, width) in enumerate(zip(parts, labels.widths, strict=True)):
        loss_parts.append(_part(labels, part, f"loss.parts[{number}]", width, trust))
    return Together(loss_parts)


def _part(labels: Labels, part: dict[str, Any], key: str, width: int, trust: list[str] | None) -> _Part:
    known = {"name", "loss", "params", "kind", "weight", "label_smoothing", "delta", "metrics"}
    if unknown := sorted(set(part) - known):
        raise ConfigError(problem(f"{key}.{unknown[0]}", "unknown key", fix="leave it out"))
    name = str(part.get("loss"))
    kind = part.get("kind") if "." in name else kind_of(name)
    plain = fitting_kinds(lambda its: not its.is_dense)
    if kind not in plain or part.get("kind", kind) != kind:
        fix = f"use {', '.join(plain[:-1])} or {plain[-1]}, what the loss is for"
        raise ConfigError(problem(f"{key}.kind", "is not what is predicted", got=part.get("kind"), fix=fix))
    params = {option: part[option] for option in ("label_smoothing", "delta", "params") if option in part}
    counts = labels.counts.new_zeros(width)
    loss = keras(Labels(kind, counts, labels.total), name=name, trust=trust, **params)
    entries = part.get("metrics", [])
    blocks = {own_classes.names([entry])[0]: entry for entry in entries if isinstance(entry, Mapping)}
    own = {
        metric_name: own_classes.measure(f"{key}.metrics", block, kind, trust) for metric_name, block in blocks.items()
    }
    measures = own_classes.names(entries)
    if wrong_ones := [
        metric_name
        for metric_name in measures
        if metric_name not in post_kind.of(kind).METRICS and metric_name not in own
    ]:
        fix = f"metrics of {kind}: {listing(post_kind.of(kind).METRICS, most=20)}"
        raise ConfigError(problem(f"{key}.metrics", "there is none", got=wrong_ones, fix=fix))
    part_loss = cast("KerasLoss | OwnLoss", loss)
    return _Part(str(part.get("name")), part_loss, float(part.get("weight", 1.0)), measures, own, width)


def kind_of(name: str) -> str:
    """The kind of predictions that a loss is for, by Keras's name in snake case."""
    return "regression" if name in NAMES else "multilabel" if name == ENTROPIES[2] else "classification"


def keras(
    labels: Labels,
    *,
    name: str,
    label_smoothing: Annotated[float, ">= 0", "< 1"] = 0.0,
    weight: Annotated[float, ">= 0"] = 1.0,
    delta: Annotated[float, "> 0"] = 1.0,
    params: dict[str, Any] | None = None,
    trust: list[str] | None = None,
) -> nn.Module:
    """A loss of Keras, or one of your own that is weighed as Keras weighs.

    Args:
        labels: What is known of the training images.
        name: Keras's name in snake case, such as categorical_crossentropy or mean_squared_error; or MODULE.NAME of a class
            of your own, whose instances are called as functions are in `mlpipe.learn.losses.own.OwnLoss`.
        label_smoothing: For the cross-entropies of one-hot and of binary targets.
        weight: What the loss is multiplied by, in training and in validation.
        delta: For huber, the error up to which it is a square.
        params: For a class of your own, its parameters.
        trust: Modules outside the current folder whose code may run.

    Raises:
        ConfigError: When there is no such loss, or it is not for the task's kind.
        DataError: When a class of your own is from outside the current folder, or not there.
    """
    known = (*ENTROPIES, *NAMES)
    if "." in name:
        if label_smoothing:
            raise ConfigError(problem("loss.label_smoothing", f"is not for {name}", got=label_smoothing, fix="use 0"))
        return _own_loss(name, params, labels, trust, weight)
    if params:
        raise ConfigError(problem("loss.params", "are for a class of your own", got=params, fix="leave them out"))
    if name not in known:
        fix = did_you_mean(name, known, otherwise=f"there are {listing(known, most=20)}")
        raise ConfigError(problem("loss.name", "there is no such loss", got=name, fix=fix))
    kind = kind_of(name)
    if kind != labels.kind:
        raise ConfigError(
            problem("loss.name", f"is for {kind}, the task is {labels.kind}", got=name, fix="use another")
        )
    if label_smoothing and name not in (ENTROPIES[0], ENTROPIES[2]):
        raise ConfigError(problem("loss.label_smoothing", f"is not for {name}", got=label_smoothing, fix="use 0"))
    return KerasLoss(name, labels.kind, label_smoothing, weight, delta)
