"""Calibration and mixture of networks' outputs as tensors, for exported files.

The same as `mlpipe.post.calibration.values` and `combine` of `mlpipe.kinds.*.post`, which work on arrays; in double precision.
Only operations that ONNX has are used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from mlpipe.predicting import parity, resizing
from mlpipe.predicting.parity import Array, Difference

# A function from logits to logits, shape (n, outputs).
Change = Callable[[Tensor], Tensor]


class Tensors(Protocol):
    """The operations on the outputs of networks of a kind.

    Attributes:
        OUTPUTS: The names of a file's outputs: `values`, and `logits` if there are some.
        OPERATORS: Operators of PyTorch that ONNX lacks, and the function that writes each in operators of ONNX.
        DECOMPOSITIONS: Operators that PyTorch lacks, and each as a function of PyTorch's own operators.
        EXACT_END: Whether the last layers stay in floating point when the other layers are quantized.
    """

    OUTPUTS: tuple[str, ...]
    OPERATORS: Mapping[Any, Callable[..., Any]]
    DECOMPOSITIONS: Mapping[Any, Callable[..., Any]]
    EXACT_END: bool

    def placed(self, outputs: Tensor, size: tuple[Any, ...], input_size: tuple[Any, ...]) -> Tensor:
        """Return outputs for samples of a size from those for the network's input size: rows stay, places are mapped."""
        ...

    def calibrated(self, plain: Mapping[str, Any]) -> Change:
        """Return a function that applies a stored calibration."""
        ...

    def combine(self, parts: Sequence[Tensor], weights: Sequence[float], mixing: str) -> Tensor:
        """Return the weighted mean of `logits` or of `probabilities`, of one shape each."""
        ...

    def values(self, rows: Tensor) -> Tensor:
        """Return probabilities or numbers."""
        ...

    def difference(
        self, references: Sequence[Array], outputs: Sequence[Array], sides: Sequence[int], least: Array, limit: float
    ) -> Difference:
        """Compare the values of a file with those of the models.

        Args:
            references: The models' values of each sample.
            outputs: The file's values.
            sides: The longest side of each sample in pixels.
            least: The score threshold of each class, where a sample has several rows.
            limit: The largest allowed difference.
        """
        ...


class _Values:
    """Samples have one row, or maps: values are compared number by number."""

    OPERATORS: Mapping[Any, Callable[..., Any]] = MappingProxyType({})
    DECOMPOSITIONS: Mapping[Any, Callable[..., Any]] = MappingProxyType({})
    EXACT_END = False

    def difference(
        self, references: Sequence[Array], outputs: Sequence[Array], sides: Sequence[int], least: Array, limit: float
    ) -> Difference:
        """Compare number by number, see `mlpipe.predicting.parity.values_difference`."""
        return parity.values_difference(references, outputs, limit)


class _Rows(_Values):
    """Outputs are rows, without places."""

    OUTPUTS: tuple[str, ...] = ("values", "logits")

    def placed(self, outputs: Tensor, size: tuple[Any, ...], input_size: tuple[Any, ...]) -> Tensor:
        """Return rows in double precision."""
        return outputs.double()


class Classes(_Rows):
    """Rows are logits of classes, of which one is true."""

    def calibrated(self, plain: Mapping[str, Any]) -> Change:
        """Return log-probabilities after a stored `mlpipe.post.calibration.values.Calibration`."""
        known = plain["parameters"]
        unit = float(known.get("unit", 1.0))
        change = _change(known, int(plain["rows"]))
        return lambda rows: change(functional.log_softmax(rows * unit, 1))

    def combine(self, parts: Sequence[Tensor], weights: Sequence[float], mixing: str) -> Tensor:
        """Return mixed log-probabilities."""
        if mixing == "logits":
            return functional.log_softmax(_sum(parts, weights), 1)
        return _log_mean([functional.log_softmax(logits, 1) for logits in parts], weights)

    def values(self, rows: Tensor) -> Tensor:
        """Return the probabilities of classes."""
        return functional.softmax(rows, 1)


class Labels(_Rows):
    """Rows are log-odds of labels that hold or not."""

    def calibrated(self, plain: Mapping[str, Any]) -> Change:
        """Return log-odds after a stored `mlpipe.post.calibration.labels.LabelCalibration`."""
        of_classes = Classes()
        changes = [
            None if calibration is None else of_classes.calibrated(calibration) for calibration in plain["labels"]
        ]

        def change(rows: Tensor) -> Tensor:
            columns = []
            for number, label_change in enumerate(changes):
                odds = rows[:, number : number + 1]
                if label_change is not None:
                    both = label_change(torch.cat([torch.zeros_like(odds), odds], 1))
                    odds = both[:, 1:] - both[:, :1]
                columns.append(odds)
            return torch.cat(columns, 1)

        return change

    def combine(self, parts: Sequence[Tensor], weights: Sequence[float], mixing: str) -> Tensor:
        """Return mixed log-odds."""
        if mixing == "logits":
            return _sum(parts, weights)
        yes = _log_mean([functional.logsigmoid(logits) for logits in parts], weights)
        return yes - _log_mean([functional.logsigmoid(-logits) for logits in parts], weights)

    def values(self, rows: Tensor) -> Tensor:
        """Return the probabilities of labels."""
        return torch.sigmoid(rows)


class Numbers(_Rows):
    """Rows are numbers."""

    def calibrated(self, plain: Mapping[str, Any]) -> Change:
        """Numbers are not calibrated."""
        return lambda rows: rows

    def combine(self, parts: Sequence[Tensor], weights: Sequence[float], mixing: str) -> Tensor:
        """Return their mean."""
        return _sum(parts, weights)

    def values(self, rows: Tensor) -> Tensor:
        """Return the numbers."""
        return rows


class Maps(_Values):
    """Outputs are maps, shape (n, outputs, height, width), which are averaged in the samples' size.

    Args:
        activation: From outputs to probabilities or numbers.
    """

    OUTPUTS: tuple[str, ...] = ("values",)

    def __init__(self, activation: Change) -> None:
        self._meaning = activation

    def placed(self, outputs: Tensor, size: tuple[Any, ...], input_size: tuple[Any, ...]) -> Tensor:
        """Return probabilities or numbers in the size of the samples."""
        values = self._meaning(outputs.float())
        if size == input_size:
            return values
        return resizing.resized(values, *size)

    def calibrated(self, plain: Mapping[str, Any]) -> Change:
        """Maps are not calibrated."""
        return lambda values: values

    def combine(self, parts: Sequence[Tensor], weights: Sequence[float], mixing: str) -> Tensor:
        """Return their mean."""
        return _sum(parts, weights)

    def values(self, rows: Tensor) -> Tensor:
        """Return the values of each place, outputs last."""
        return rows.movedim(1, -1)


def probabilities(logits: Tensor) -> Tensor:
    """Return the class probabilities of every place."""
    return functional.softmax(logits, 1)


def numbers(values: Tensor) -> Tensor:
    """Return numbers unchanged."""
    return values


def _sum(parts: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    total = parts[0] * weights[0]
    for part, weight in zip(parts[1:], weights[1:], strict=True):
        total = total + part * weight
    return total


def _log_mean(logs: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Return the logarithm of the weighted mean of exp(logs)."""
    used = [
        values + torch.log(torch.tensor(weight, dtype=values.dtype))
        for values, weight in zip(logs, weights, strict=True)
        if weight
    ]
    return torch.logsumexp(torch.stack(used), 0)


def _change(known: Mapping[str, Any], rows: int) -> Change:
    """Return a function that applies a calibration to log-probabilities, by its parameters."""
    if "curves" in known:
        return _beta(known)
    if "knots" in known:
        return _normalised([_isotonic(*pair) for pair in _pairs(known, "knots")], rows)
    if "edges" in known:
        return _normalised([_histogram(*pair) for pair in _pairs(known, "edges")], rows)
    scale, bias = _tensor(known["scale"]), _tensor(known["bias"])
    if scale.ndim == 2:
        return lambda scores: functional.log_softmax(scores @ scale.T + bias, 1)
    return lambda scores: functional.log_softmax(scores * scale + bias, 1)


def _beta(known: Mapping[str, Any]) -> Change:
    curves = [[float(value) for value in curve] for curve in known["curves"]]
    offset = _tensor(known["offset"]) if "offset" in known else None

    def change(scores: Tensor) -> Tensor:
        if offset is not None:
            scores = functional.log_softmax(scores + offset, 1)
        columns = []
        for number, (rise, fall, shift) in enumerate(curves):
            rest = torch.logsumexp(torch.cat([scores[:, :number], scores[:, number + 1 :]], 1), 1)
            columns.append(functional.logsigmoid(rise * scores[:, number] - fall * rest + shift))
        return functional.log_softmax(torch.stack(columns, 1), 1)

    return change


def _normalised(curves: Sequence[Change], rows: int) -> Change:
    """Apply one curve per class and normalise; shares below half a row count as half a row, being no different from zero."""

    def change(scores: Tensor) -> Tensor:
        chances = scores.exp()
        shares = torch.stack([curve(chances[:, number]) for number, curve in enumerate(curves)], 1)
        return functional.log_softmax(torch.log(shares.clamp(min=1 / (2 * rows))), 1)

    return change


def _isotonic(knots: Tensor, values: Tensor) -> Change:
    """Return a curve that is linear between knots and constant outside of them."""

    def change(scores: Tensor) -> Tensor:
        if len(knots) == 1:
            return torch.zeros_like(scores) + values[0]
        place = (scores[:, None] > knots[None, 1:-1]).sum(1)
        left, right = knots[place], knots[place + 1]
        share = ((scores - left) / (right - left)).clamp(0, 1)
        return values[place] + share * (values[place + 1] - values[place])

    return change


def _histogram(edges: Tensor, values: Tensor) -> Change:
    """Return a curve with the value of the bin; a score on an edge belongs to the bin below."""
    return lambda scores: values[(scores[:, None] > edges[None]).sum(1)]


def _pairs(known: Mapping[str, Any], places: str) -> list[tuple[Tensor, Tensor]]:
    return [(_tensor(place), _tensor(other)) for place, other in zip(known[places], known["values"], strict=True)]


def _tensor(value: Any) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)
