"""Losses per output: each class as a 0-or-1 target, and several outputs side by side, each with its own loss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mlpipe.config.components import Component
from mlpipe.data.task import IGNORED
from mlpipe.errors import ConfigError, listing, problem
from mlpipe.learn.losses import own
from mlpipe.learn.losses.keras import as_logits
from mlpipe.learn.losses.labels import Labels, facts
from mlpipe.learn.losses.means import mean_of_rows, power, weighted_mean
from mlpipe.learn.own_parts import own_metrics
from mlpipe.post import kind as post_kind
from mlpipe.post import metrics


def elementwise(
    labels: Labels,
    *,
    of: Literal["bce", "squared_error", "focal"] = "bce",
    outputs: Literal["softmax", "sigmoid", "linear"] = "softmax",
    gamma: Annotated[float, ">= 0"] = 2.0,
) -> nn.Module:
    """The mean over images (or pixels of masks) and outputs of a loss between p, the activated output, and the target t.

    t is 1 for the true class and 0 for the others.

    Args:
        labels: Facts about the training images.
        of: `bce` (torch.nn.BCELoss), `squared_error`, or `focal` (Lin et al. 2017): bce times (1 - q)^gamma, where q is p
            if t is 1, and 1 - p if t is 0.
        outputs: The activation applied to the network's outputs.
        gamma: The exponent of `focal`.

    Raises:
        ConfigError: For tasks of other kinds, and for bce and focal of outputs that are not probabilities.
    """
    if not labels.facts.excludes:
        fix = "use loss=auto"
        raise ConfigError(problem("loss", f"elementwise is for classification, this task is {labels.kind}", fix=fix))
    if outputs == "linear" and of != "squared_error":
        fix = "use softmax or sigmoid"
        raise ConfigError(problem("loss.outputs", f"{of} takes probabilities", got=outputs, fix=fix))
    return _Elementwise(of, outputs, gamma)


class _Elementwise(nn.Module):
    def __init__(self, of: str, outputs: str, gamma: float) -> None:
        super().__init__()
        self._measure, self._outputs, self._gamma = of, outputs, gamma

    def forward(self, outputs: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        if outputs.ndim > 2 and target.ndim == outputs.ndim - 1:
            return self._pixel_mean(outputs.float(), target, weight)
        truth = F.one_hot(target, outputs.shape[1]).to(outputs.dtype) if target.ndim == 1 else target
        values = self._values(outputs, truth.nan_to_num(0.0)).mean(1)
        if target.ndim > 1:
            # Images known only to a teacher have no target.
            known = (~truth.isnan().any(1)).to(values.dtype)
            weight = known if weight is None else known * weight.to(values.dtype)
        return mean_of_rows(values, weight)

    def _pixel_mean(self, outputs: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
        """Return the mean over the pixels that count of masks with class numbers (n, ...); zero if no pixel counts."""
        known = target != IGNORED
        one_hot = F.one_hot(torch.where(known, target, 0), outputs.shape[1]).movedim(-1, 1).to(outputs.dtype)
        values, counts = self._values(outputs, one_hot).mean(1), known.float()
        if weight is not None:
            counts = counts * weight.reshape(-1, *[1] * (target.ndim - 1))
        return weighted_mean((values * counts).sum(), counts.sum())

    def _values(self, outputs: Tensor, truth: Tensor) -> Tensor:
        if self._measure == "squared_error":
            return (self._probabilities(outputs) - truth) ** 2
        if self._outputs == "sigmoid":
            values = F.binary_cross_entropy_with_logits(outputs, truth, reduction="none")
        else:
            values = F.binary_cross_entropy(outputs.softmax(1), truth, reduction="none")
        if self._measure == "bce":
            return values
        p = self._probabilities(outputs)
        return values * power(1 - (p * truth + (1 - p) * (1 - truth)), self._gamma)

    def _probabilities(self, outputs: Tensor) -> Tensor:
        match self._outputs:
            case "softmax":
                return outputs.softmax(1)
            case "sigmoid":
                return outputs.sigmoid()
        return outputs


@dataclass(frozen=True)
class _Part:
    """One of several outputs.

    Attributes:
        name: Its name.
        kind: The kind of its predictions.
        width: The number of its columns.
        weight: The weight of its loss.
        loss: Its loss, called with logits or numbers.
        measures: Its metrics by name.
    """

    name: str
    kind: str
    width: int
    weight: float
    loss: nn.Module
    measures: Mapping[str, metrics.Measure]


def heads(
    labels: Labels,
    *,
    parts: list[dict[str, Any]],
    modules: str | None = None,
    imports: list[str] | None = None,
    stand_ins: list[str] | None = None,
    trust: list[str] | None = None,
) -> nn.Module:
    """The weighted sum of one loss for each of several outputs side by side.

    Args:
        labels: Facts about the training images; for labels all outputs are logits, otherwise they are activated values
            (`task.heads`).
        parts: For each output, in order: `name`, `outputs` (its number of columns), `activation` (Keras's name of the
            activation applied to them), `expression` (a loss as in `loss=composite`), `weight` and `metrics`.
        modules: Folder of Python files with functions used in expressions.
        imports: Modules to import in addition.
        stand_ins: Packages whose imports are replaced by `mlpipe.data.items`.
        trust: Folders outside the current one, and modules, whose code may run.

    Raises:
        ConfigError: When a part is wrong, or the parts do not fit the task.
    """
    code = {"modules": modules, "imports": imports, "stand_ins": stand_ins, "trust": trust}
    if labels.facts.excludes or labels.facts.is_dense:
        fix = "say task.heads with task.kind=regression"
        raise ConfigError(problem("loss", "heads is for several outputs", got=labels.kind, fix=fix))
    loss_parts = [_part(number, part, labels, code) for number, part in enumerate(parts)]
    if sum(part.width for part in loss_parts) != len(labels.counts):
        wrong = f"its parts have {sum(part.width for part in loss_parts)} numbers, the task has {len(labels.counts)}"
        raise ConfigError(problem("loss.parts", wrong, fix="give each output as many as it has"))
    return _Heads(loss_parts, given_logits=labels.facts.of_labels)


def _part(number: int, given: Mapping[str, Any], labels: Labels, code: Mapping[str, Any]) -> _Part:
    key = f"loss.parts[{number}]"
    known = ("name", "outputs", "activation", "expression", "weight", "metrics")
    if unknown := sorted(set(given) - set(known)):
        raise ConfigError(problem(f"{key}.{unknown[0]}", "unknown key", fix=f"known keys: {listing(known)}"))
    width, activation = given.get("outputs"), str(given.get("activation"))
    if not isinstance(width, int) or isinstance(width, bool) or width < 1:
        raise ConfigError(problem(f"{key}.outputs", "must be a whole number >= 1", got=width))
    kind = kind_of_activation(activation)
    if labels.facts.of_labels and not facts(kind).of_labels:
        fix = "use task.kind=regression with task.heads"
        raise ConfigError(problem(f"{key}.activation", "labels are sigmoids", got=activation, fix=fix))
    of_part = Labels(kind, torch.zeros(width, dtype=torch.int64), labels.total, in_units=True)
    expression = str(given.get("expression", "auto"))
    loss = own.own(of_part, expression=expression, **code)
    table, measures = {**post_kind.of(kind).METRICS, **own_metrics.loss_metrics(kind)}, list(given.get("metrics") or [])
    if wrong := [name for name in measures if name not in table]:
        fix = f"metrics of {kind}: {listing(post_kind.of(kind).METRICS, most=20)}"
        raise ConfigError(problem(f"{key}.metrics", "there is none", got=wrong, fix=fix))
    chosen = {name: table[name] for name in measures}
    return _Part(str(given.get("name", f"out{number}")), kind, width, float(given.get("weight", 1.0)), loss, chosen)


def measures_of(loss: Component, kind: str, outputs: int) -> dict[str, metrics.Measure]:
    """Return the metrics of a `heads` loss as one metric `heads` with several values; empty for other losses.

    Args:
        loss: The `loss` section of the configuration.
        kind: The task's kind.
        outputs: The total number of outputs.
    """
    if loss.name != "heads":
        return {}
    built: _Heads = loss.build(Labels(kind, torch.zeros(outputs, dtype=torch.int64), 0))
    return {"heads": lambda logits, targets: built.measured(torch.tensor(logits), torch.tensor(targets))}


def kind_of_activation(activation: str) -> str:
    """Return the kind of prediction after an activation of Keras: classes, labels or plain numbers."""
    kinds: dict[str, str] = {"softmax": "classification", "sigmoid": "multilabel", "hard_sigmoid": "multilabel"}
    return kinds.get(activation, "regression")


def shared(measures: Sequence[Sequence[str]]) -> list[str]:
    """Return the metrics that all outputs have in common, whose mean is reported too."""
    first, *others = measures or [[]]
    return [name for name in first if all(name in other for other in others)]


class _Heads(nn.Module):
    def __init__(self, parts: Sequence[_Part], *, given_logits: bool) -> None:
        super().__init__()
        self._head_parts, self._given_logits = list(parts), given_logits
        self.losses = nn.ModuleList([part.loss for part in parts])

    def forward(self, outputs: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        total = outputs.new_zeros(())
        for part, values, truth in self._parts(outputs, target):
            loss = part.loss(values, truth) if weight is None else part.loss(values, truth, weight)
            total = total + part.weight * loss
        return total

    def measured(self, outputs: Tensor, target: Tensor, weight: Tensor | None = None) -> dict[str, float]:
        """Return `OUTPUT_loss` and `OUTPUT_METRIC` of each output and means of common metrics; METRIC if there is one output."""
        results: dict[str, float] = {}
        for part, values, truth in self._parts(outputs.float(), target.float()):
            plain = truth.argmax(1) if facts(part.kind).excludes else truth
            arrays = values.cpu().numpy(), plain.cpu().numpy()
            scores = metrics.compute(part.measures, *arrays, part.kind, part.measures)
            if len(self._head_parts) == 1:
                return scores
            loss = part.loss(values, truth) if weight is None else part.loss(values, truth, weight)
            results[f"{part.name}_loss"] = float(loss)
            results |= {f"{part.name}_{name}": value for name, value in scores.items()}
        for name in shared([list(part.measures) for part in self._head_parts]):
            values_of = [results.get(f"{part.name}_{name}", float("nan")) for part in self._head_parts]
            results[name] = float(np.mean(values_of))
        return results

    def _parts(self, outputs: Tensor, target: Tensor) -> Iterator[tuple[_Part, Tensor, Tensor]]:
        """Yield each output with its logits (or numbers) and targets."""
        widths = [part.width for part in self._head_parts]
        for part, values, truth in zip(
            self._head_parts, torch.split(outputs, widths, 1), torch.split(target, widths, 1), strict=True
        ):
            yield part, values if self._given_logits else as_logits(values, part.kind), truth
