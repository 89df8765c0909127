"""Keras's losses by Keras's names, weighted as in Keras: the weighted sum over a batch divided by its number of samples.

Source: the documentation of `keras.losses`. The formulas are in `mlpipe.learn.losses.probabilities`, the tests use Keras.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast, get_args

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mlpipe.errors import ConfigError, did_you_mean, listing, problem
from mlpipe.learn.losses import probabilities
from mlpipe.learn.losses.labels import Labels, facts, fitting_kinds
from mlpipe.learn.losses.means import mean_of_each, power, weighted_mean
from mlpipe.learn.losses.own import OwnLoss
from mlpipe.learn.own_parts import own_classes
from mlpipe.post import kind as post_kind
from mlpipe.post import metrics
from mlpipe.post.metrics import Measure

# Keras's name in snake case -> name in `probabilities`; the cross-entropies are further below.
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
_FOCAL, _BINARY_FOCAL = "categorical_focal_crossentropy", "binary_focal_crossentropy"
# Other losses of classes, and of labels; overlaps are computed over a whole batch, not for each sample.
_OF_CLASSES = (_FOCAL, "categorical_generalized_cross_entropy")
OVERLAPS = ("dice", "tversky")
_OF_LABELS = (ENTROPIES[2], _BINARY_FOCAL, *OVERLAPS)
LOSSES = (*ENTROPIES, *_OF_CLASSES, _BINARY_FOCAL, *OVERLAPS, *NAMES)
# Losses that support label smoothing.
SMOOTHED = (ENTROPIES[0], ENTROPIES[2], _FOCAL, _BINARY_FOCAL)
# Probabilities in cross-entropies are clipped to this distance from 0 and 1, as in Keras.
_TINY = 1e-7
# Keras's parameters of its losses besides label_smoothing and delta, with their defaults and bounds.
_SHARE, _POSITIVE = (0.0, 1.0), (0.0, math.inf)
PARAMETERS: dict[str, dict[str, tuple[float | bool | None, tuple[float, float]]]] = {
    ENTROPIES[1]: {"ignore_class": (None, _POSITIVE)},
    _FOCAL: {"alpha": (0.25, _POSITIVE), "gamma": (2.0, _POSITIVE)},
    _BINARY_FOCAL: {"alpha": (0.25, _SHARE), "gamma": (2.0, _POSITIVE), "apply_class_balancing": (False, _SHARE)},
    "categorical_generalized_cross_entropy": {"q": (0.5, (math.nextafter(0.0, 1.0), 1.0))},
    "tversky": {"alpha": (0.5, _POSITIVE), "beta": (0.5, _POSITIVE)},
}
# How the losses of a batch are reduced to one number.
Reduction = Literal["mean", "sum", "weighted_mean"]


@dataclass(frozen=True)
class Reduced:
    """The reduction of a Keras loss.

    Attributes:
        way: `mean` (the sum over the number of samples), `sum`, or `weighted_mean` (the sum over the sum of the weights).
        batch: For `sum`, samples per batch; the mean is multiplied by it where nothing is learned.
    """

    way: Reduction = "mean"
    batch: int = 1


def _own_loss(
    path: str, params: Mapping[str, Any] | None, labels: Labels, trust: Sequence[str] | None, scale: float
) -> OwnLoss:
    """Return an instance of the user's own class, or its method `call`, as a loss weighted as in Keras."""
    loss = own_classes.instance("loss", path, params, trust)
    function = getattr(loss, "call", loss)
    if not callable(function):
        fix = "give its class a method call(y_true, y_pred)"
        raise ConfigError(problem("loss", f"{path} cannot be called", got=type(loss).__name__, fix=fix))

    def mean(values: Tensor, weight: Tensor | None) -> Tensor:
        # Divided by the number of samples, not by their weights.
        return scale * (values if weight is None else values.reshape(len(values), -1).mean(1) * weight).mean()

    return OwnLoss(path, function, labels.kind, len(labels.counts), mean=mean, sample="sample")


class KerasLoss(nn.Module):
    """One of Keras's losses.

    Attributes:
        kind: The kind of predictions.

    Args:
        name: Keras's name in snake case.
        kind: The kind of predictions: the outputs are logits of classes or labels, or numbers.
        smoothing: The share of the targets that is spread over all classes (over 0 and 1 for labels).
        scale: Factor of the loss.
        delta: For `huber`, the error up to which it is squared.
        parameters: Keras's other parameters of the loss, see `PARAMETERS`.
        reduced: The reduction of the losses of a batch.
    """

    def __init__(
        self,
        name: str,
        kind: str,
        smoothing: float,
        scale: float = 1.0,
        delta: float = 1.0,
        parameters: Mapping[str, Any] | None = None,
        reduced: Reduced | None = None,
    ) -> None:
        super().__init__()
        self._name, self.kind, self._smoothing, self._scale, self._delta = name, kind, smoothing, scale, delta
        defaults = {parameter: default for parameter, (default, _) in PARAMETERS.get(name, {}).items()}
        self._settings: dict[str, Any] = {**defaults, **(parameters or {})}
        self._reduced = reduced or Reduced()

    def forward(self, outputs: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return the mean over samples of weight times loss (or the other reduction), times the scale.

        Args:
            outputs: Logits or numbers, shape (n, outputs). If they need no gradient, a sum is the mean times the
                configured number of samples per batch, so that it does not depend on the actual number of samples.
            target: Class numbers (n,), or shape (n, outputs); NaN targets are unknown and left out.
            weight: Shape (n,).
        """
        known = torch.ones_like(outputs, dtype=torch.bool) if target.ndim == 1 else ~target.isnan()
        if (ignored := self._settings.get("ignore_class")) is not None:
            # In Keras, samples of this class do not count in the mean either.
            classes = target if target.ndim == 1 else target.nan_to_num(0.0).argmax(1)
            known = known & (classes != ignored).unsqueeze(1)
        values = self._sample_losses(
            outputs, target if target.ndim == 1 else target.nan_to_num(0.0), known.to(outputs.dtype)
        )
        some = known.any(1).to(values.dtype)
        share = some if weight is None else some * weight.to(values.dtype)
        total = (values * share).sum()
        if self._reduced.way == "sum" and outputs.requires_grad:
            return self._scale * total
        # Keras divides by the number of samples, not by their weights, unless the reduction says otherwise.
        divisor = share if self._reduced.way == "weighted_mean" else some
        return self._scale * self._reduced.batch * weighted_mean(total, divisor.sum())

    def _sample_losses(self, outputs: Tensor, target: Tensor, known: Tensor) -> Tensor:
        """Return the loss of each sample over its known targets, shape (n,); for overlaps that of the batch."""
        if facts(self.kind).excludes:
            return self._class_losses(outputs, target)
        if facts(self.kind).of_labels:
            return self._label_losses(outputs, target.to(outputs.dtype), known)
        truth = target.to(outputs.dtype)
        if self._name == "huber":
            return mean_of_each(F.huber_loss(outputs, truth, reduction="none", delta=self._delta), known)
        return probabilities.EACH[NAMES[self._name]](truth, outputs, known)

    def _class_losses(self, outputs: Tensor, target: Tensor) -> Tensor:
        classes, of = outputs.shape[1], self._settings
        truth = (F.one_hot(target, classes) if target.ndim == 1 else target).to(outputs.dtype)
        smooth = truth * (1 - self._smoothing) + self._smoothing / classes
        if self._name == _FOCAL:
            p = outputs.softmax(1).clamp(_TINY, 1 - _TINY)
            alpha = torch.as_tensor(of["alpha"], dtype=p.dtype, device=p.device)
            return -(smooth * p.log() * power(1 - p, of["gamma"]) * alpha).sum(1)
        if self._name == "categorical_generalized_cross_entropy":
            # Clamped so that the gradient of a small power stays finite.
            p = (outputs.softmax(1) * truth).sum(1).clamp(min=torch.finfo(outputs.dtype).tiny)
            q = float(of["q"])
            return (1 - p**q) / q
        return -(smooth * outputs.log_softmax(1)).sum(1)

    def _label_losses(self, outputs: Tensor, truth: Tensor, known: Tensor) -> Tensor:
        of = self._settings
        if self._name in OVERLAPS:
            return self._overlap(outputs.sigmoid() * known, truth * known, known).expand(len(outputs))
        smooth = truth * (1 - self._smoothing) + 0.5 * self._smoothing
        losses = F.binary_cross_entropy_with_logits(outputs, smooth, reduction="none")
        if self._name == _BINARY_FOCAL:
            p = outputs.sigmoid()
            losses = losses * power(1 - (smooth * p + (1 - smooth) * (1 - p)), of["gamma"])
            if of["apply_class_balancing"]:
                losses = losses * (smooth * of["alpha"] + (1 - smooth) * (1 - of["alpha"]))
        return mean_of_each(losses, known)

    def _overlap(self, p: Tensor, t: Tensor, known: Tensor) -> Tensor:
        """Return 1 - the overlap of all probabilities of a batch with all targets, which is Keras's axis=None."""
        both = (p * t).sum()
        if self._name == "dice":
            return 1 - 2 * both / (t.sum() + p.sum() + _TINY)
        # In Keras `alpha` weights false negatives, and `beta` false positives.
        missed, too_much = ((1 - p) * t).sum(), (p * (known - t)).sum()
        weighed: Tensor = self._settings["alpha"] * missed + self._settings["beta"] * too_much
        return 1 - both / (both + weighed + _TINY)


@dataclass(frozen=True)
class _Part:
    """One of several outputs: its name, loss, weight, metrics by name, the user's own metrics, and number of columns."""

    name: str
    loss: KerasLoss | OwnLoss
    weight: float
    metrics: list[str]
    own: Mapping[str, Measure]
    width: int


class Together(nn.Module):
    """The weighted sum of the losses of several outputs, whose probabilities or numbers are side by side.

    Args:
        parts: Each output's name, loss, weight, metrics and number of columns.
    """

    def __init__(self, parts: Sequence[_Part]) -> None:
        super().__init__()
        self._names, self._weights = [part.name for part in parts], [part.weight for part in parts]
        self.losses = nn.ModuleList([part.loss for part in parts])
        self._metrics, self._own = [part.metrics for part in parts], [part.own for part in parts]
        self._widths = [part.width for part in parts]

    def forward(self, outputs: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return the sum over outputs of their weight times their loss.

        Args:
            outputs: Probabilities or numbers, shape (n, sum of the outputs' widths).
            target: Of the same shape, one-hot for classes.
            weight: Shape (n, outputs).
        """
        total = outputs.new_zeros(())
        for number, (values, truth) in enumerate(self._parts(outputs, target)):
            own = None if weight is None else weight[:, number]
            total = total + self._weights[number] * self.losses[number](values, truth, own)
        return total

    def measured(self, outputs: Tensor, target: Tensor, weight: Tensor | None = None) -> dict[str, float]:
        """Return the loss (weighted if there are weights) and the metrics of each output: `OUTPUT_loss`, `OUTPUT_METRIC`.

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
        """Yield logits (or numbers) and targets of each output."""
        pairs = zip(torch.split(outputs, self._widths, 1), torch.split(target, self._widths, 1), strict=True)
        for loss, (values, truth) in zip(self.losses, pairs, strict=True):
            yield as_logits(values, cast(KerasLoss, loss).kind), truth


def as_logits(values: Tensor, kind: str) -> Tensor:
    """Return logits that reproduce the given probabilities of classes or labels; numbers are returned unchanged.

    Args:
        values: Shape (n, outputs).
        kind: The kind of predictions.
    """
    its = facts(kind)
    if its.excludes:
        return (values / values.sum(1, keepdim=True)).clamp(_TINY, 1 - _TINY).log()
    return values.clamp(_TINY, 1 - _TINY).logit() if its.of_labels else values


def keras_outputs(labels: Labels, *, parts: list[dict[str, Any]], trust: list[str] | None = None) -> nn.Module:
    """The weighted sum of Keras losses, one for each of several outputs of records.

    Args:
        labels: Facts about the training images.
        parts: For each output, in order: `name`, `loss` (Keras's name, or MODULE.NAME of your own class, with its
            `params` and the `kind` of the output), `weight`, `label_smoothing`, `delta` and `metrics`, names or
            `{import, params, name}`.
        trust: Modules outside the current folder whose code may run.

    Raises:
        ConfigError: When the number of parts is not that of the outputs, or a part is wrong.
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
    """Return the kind of predictions for a loss, by Keras's name in snake case."""
    return "regression" if name in NAMES else "multilabel" if name in _OF_LABELS else "classification"


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
    """A loss of Keras, or your own loss weighted as in Keras.

    Args:
        labels: Facts about the training images.
        name: Keras's name in snake case, such as categorical_crossentropy or mean_squared_error; or MODULE.NAME of your own
            class, whose instances are called like the functions in `mlpipe.learn.losses.own.OwnLoss`.
        label_smoothing: For the cross-entropies of one-hot and of binary targets.
        weight: Factor of the loss, in training and in validation.
        delta: For huber, the error up to which it is squared.
        params: The parameters of your own class; or the other parameters of a Keras loss: `reduction` (mean, sum or
            weighted_mean, which Keras calls mean_with_sample_weight), `batch_size`, which multiplies the mean where a sum is
            only measured, and `alpha`, `beta`, `gamma`, `apply_class_balancing`, `q` and `ignore_class` where a loss has them.
        trust: Modules outside the current folder whose code may run.

    Raises:
        ConfigError: When the loss is unknown or not for the task's kind, or a parameter does not fit.
        DataError: When your own class is missing, or outside the current folder and not trusted.
    """
    if "." in name:
        if label_smoothing:
            raise ConfigError(problem("loss.label_smoothing", f"is not for {name}", got=label_smoothing, fix="use 0"))
        return _own_loss(name, params, labels, trust, weight)
    if name not in LOSSES:
        fix = did_you_mean(name, LOSSES, otherwise=f"there are {listing(LOSSES, most=20)}")
        raise ConfigError(problem("loss.name", "there is no such loss", got=name, fix=fix))
    kind = kind_of(name)
    if kind != labels.kind:
        raise ConfigError(
            problem("loss.name", f"is for {kind}, the task is {labels.kind}", got=name, fix="use another")
        )
    if label_smoothing and name not in SMOOTHED:
        raise ConfigError(problem("loss.label_smoothing", f"is not for {name}", got=label_smoothing, fix="use 0"))
    own = dict(params or {})
    reduced = Reduced(own.pop("reduction", "mean"), own.pop("batch_size", 1))
    if name in OVERLAPS and reduced.way == "sum":
        # A batch gives one number, which is its own sum.
        reduced = Reduced()
    if wrong := problems(name, own, len(labels.counts)) + _reduction_problems(reduced):
        raise ConfigError(wrong)
    return KerasLoss(name, labels.kind, label_smoothing, weight, delta, own, reduced)


def problems(
    name: str, parameters: Mapping[str, Any], outputs: int | None = None, key: str = "loss.params"
) -> list[str]:
    """Return a sentence for each of Keras's parameters that does not fit the loss.

    Args:
        name: Keras's name in snake case.
        parameters: The parameters other than `label_smoothing`, `delta` and `reduction`.
        outputs: The number of classes; None if unknown.
        key: The configuration key of the parameters.
    """
    known = PARAMETERS.get(name, {})
    wrong = []
    for parameter, value in parameters.items():
        place = f"{key}.{parameter}"
        if parameter not in known:
            fix = did_you_mean(parameter, known, otherwise=f"{name} has {listing(known)}" if known else "leave it out")
            wrong.append(problem(place, f"is none of {name}", got=value, fix=fix))
            continue
        default, (least, most) = known[parameter]
        if isinstance(default, bool):
            if not isinstance(value, bool):
                wrong.append(problem(place, "must be true or false", got=value))
            continue
        if default is None:
            if value is not None and (type(value) is not int or value < -1):
                wrong.append(problem(place, "must be the number of a class, or null", got=value))
            continue
        # A list has one number for each class.
        is_list = isinstance(value, list) and name == _FOCAL and parameter == "alpha"
        if is_list and outputs is not None and len(value) != outputs:
            wrong.append(problem(place, f"must have a number for each of {outputs} classes", got=value))
        elif not all(_is_within(number, least, most) for number in (value if is_list else [value])):
            upper = "" if math.isinf(most) else f" and <= {most:g}"
            bounds = f">= 0{upper}" if least == 0 else f"> 0{upper}"
            wrong.append(problem(place, f"must be a number {bounds}", got=value))
    return wrong


def _is_within(value: Any, least: float, most: float) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return is_number and least <= value <= most


def _reduction_problems(reduced: Reduced) -> list[str]:
    wrong = []
    if reduced.way not in get_args(Reduction):
        fix = did_you_mean(str(reduced.way), get_args(Reduction), otherwise=f"use {listing(get_args(Reduction))}")
        wrong.append(problem("loss.params.reduction", "there is no such reduction", got=reduced.way, fix=fix))
    if type(reduced.batch) is not int or reduced.batch < 1:
        wrong.append(problem("loss.params.batch_size", "must be a whole number >= 1", got=reduced.batch))
    elif reduced.batch > 1 and reduced.way != "sum":
        wrong.append(problem("loss.params.batch_size", "is for reduction: sum", got=reduced.batch, fix="leave it out"))
    return wrong
