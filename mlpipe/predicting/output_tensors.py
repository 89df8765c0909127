"""Calibration and mixture of what networks give as tensors, for files that are applied without this program.

The same as `mlpipe.post.calibration.values` and `combine` of `mlpipe.kinds.*.post`, which are for arrays; in double precision.
Only operations are used that ONNX has too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from mlpipe.post.ensembling.box_fusion import LEAST_OVERLAP
from mlpipe.post.measures.box_metrics import LEAST_SCORE
from mlpipe.runs.sinks.box_files import NUMBERS

# Logits, shape (n, outputs), to logits alike.
Change = Callable[[Tensor], Tensor]


class Tensors(Protocol):
    """What happens to the outputs of networks of a kind.

    Attributes:
        OUTPUTS: The names of what a file gives: `values`, and `logits` where there are some.
        COLUMNS: What each of several rows of a sample says, by number; empty where a sample has one, or places.
    """

    OUTPUTS: tuple[str, ...]
    COLUMNS: tuple[str, ...]

    def placed(self, outputs: Tensor, size: tuple[Any, ...], seen: tuple[Any, ...]) -> Tensor:
        """A network's outputs for samples of a size, which it was shown in another: rows stay, places are moved."""
        ...

    def calibrated(self, plain: Mapping[str, Any]) -> Change:
        """Outputs after a stored calibration."""
        ...

    def combine(self, parts: Sequence[Tensor], weights: Sequence[float], mixing: str) -> Tensor:
        """The weighted mean of `logits` or of `probabilities`, of one shape each."""
        ...

    def values(self, rows: Tensor) -> Tensor:
        """Probabilities or numbers."""
        ...


class _Rows:
    """Outputs are rows, which have no places."""

    OUTPUTS: tuple[str, ...] = ("values", "logits")
    COLUMNS: tuple[str, ...] = ()

    def placed(self, outputs: Tensor, size: tuple[Any, ...], seen: tuple[Any, ...]) -> Tensor:
        """Rows in double precision."""
        return outputs.double()


class Classes(_Rows):
    """Rows are logits of classes of which one is true."""

    def calibrated(self, plain: Mapping[str, Any]) -> Change:
        """Log-probabilities after a calibration that `mlpipe.post.calibration.values.Calibration` stored."""
        known = plain["parameters"]
        unit = float(known.get("unit", 1.0))
        change = _change(known, int(plain["rows"]))
        return lambda rows: change(functional.log_softmax(rows * unit, 1))

    def combine(self, parts: Sequence[Tensor], weights: Sequence[float], mixing: str) -> Tensor:
        """Log-probabilities."""
        if mixing == "logits":
            return functional.log_softmax(_sum(parts, weights), 1)
        return _log_mean([functional.log_softmax(one, 1) for one in parts], weights)

    def values(self, rows: Tensor) -> Tensor:
        """Probabilities of classes."""
        return functional.softmax(rows, 1)


class Labels(_Rows):
    """Rows are log-odds of labels that hold or not."""

    def calibrated(self, plain: Mapping[str, Any]) -> Change:
        """Log-odds after a calibration that `mlpipe.post.calibration.labels.LabelCalibration` stored."""
        of_classes = Classes()
        changes = [None if one is None else of_classes.calibrated(one) for one in plain["labels"]]

        def change(rows: Tensor) -> Tensor:
            columns = []
            for number, one in enumerate(changes):
                odds = rows[:, number : number + 1]
                if one is not None:
                    both = one(torch.cat([torch.zeros_like(odds), odds], 1))
                    odds = both[:, 1:] - both[:, :1]
                columns.append(odds)
            return torch.cat(columns, 1)

        return change

    def combine(self, parts: Sequence[Tensor], weights: Sequence[float], mixing: str) -> Tensor:
        """Log-odds."""
        if mixing == "logits":
            return _sum(parts, weights)
        yes = _log_mean([functional.logsigmoid(one) for one in parts], weights)
        return yes - _log_mean([functional.logsigmoid(-one) for one in parts], weights)

    def values(self, rows: Tensor) -> Tensor:
        """Probabilities of labels."""
        return torch.sigmoid(rows)


class Numbers(_Rows):
    """Rows are numbers."""

    def calibrated(self, plain: Mapping[str, Any]) -> Change:
        """Numbers are not calibrated."""
        return lambda rows: rows

    def combine(self, parts: Sequence[Tensor], weights: Sequence[float], mixing: str) -> Tensor:
        """Their mean."""
        return _sum(parts, weights)

    def values(self, rows: Tensor) -> Tensor:
        """The numbers."""
        return rows


class Maps:
    """Outputs are values of every place, shape (n, outputs, height, width), of which means are taken in the samples' size.

    Args:
        meant: The outputs to what they mean: probabilities or numbers.
    """

    OUTPUTS: tuple[str, ...] = ("values",)
    COLUMNS: tuple[str, ...] = ()

    def __init__(self, meant: Change) -> None:
        self._meant = meant

    def placed(self, outputs: Tensor, size: tuple[Any, ...], seen: tuple[Any, ...]) -> Tensor:
        """Probabilities or numbers in the size of the samples."""
        values = self._meant(outputs.float())
        if size == seen:
            return values
        return functional.interpolate(values, size=size, mode="bilinear", antialias=True, align_corners=False)

    def calibrated(self, plain: Mapping[str, Any]) -> Change:
        """Values of places are not calibrated."""
        return lambda values: values

    def combine(self, parts: Sequence[Tensor], weights: Sequence[float], mixing: str) -> Tensor:
        """Their mean."""
        return _sum(parts, weights)

    def values(self, rows: Tensor) -> Tensor:
        """The values of each place, outputs last."""
        return rows.movedim(1, -1)


class Boxes:
    """Outputs are detections, shape (n, boxes, 6): corners, score and class number; what has no score above 0 is none.

    Those of several networks are fused as `mlpipe.post.ensembling.box_fusion` does it, which says how.
    """

    OUTPUTS: tuple[str, ...] = ("values",)
    COLUMNS: tuple[str, ...] = (*NUMBERS, "class")

    def placed(self, outputs: Tensor, size: tuple[Any, ...], seen: tuple[Any, ...]) -> Tensor:
        """Boxes in pixels of the samples, zeros where there is none, in double precision."""
        found = outputs.double()
        (height, width), (high, wide) = size, seen
        corners = [found[..., place] * (width, height)[place % 2] / (wide, high)[place % 2] for place in range(4)]
        moved = torch.cat([torch.stack(corners, -1), found[..., 4:]], -1)
        return torch.where(found[..., 4:5] > 0, moved, 0.0)

    def calibrated(self, plain: Mapping[str, Any]) -> Change:
        """Boxes whose scores went through a calibration that `mlpipe.post.calibration.labels.LabelCalibration` stored."""
        of_classes = Classes()
        changes = [None if one is None else of_classes.calibrated(one) for one in plain["labels"]]

        def change(found: Tensor) -> Tensor:
            before, label = found[..., 4], found[..., 5]
            within = before.clamp(LEAST_SCORE, 1 - LEAST_SCORE)
            odds = (within.log() - torch.log(1 - within)).reshape(-1, 1)
            both, score = torch.cat([torch.zeros_like(odds), odds], 1), before
            for number, one in enumerate(changes):
                if one is not None:
                    new = one(both)[:, 1].exp().clamp(LEAST_SCORE, 1).reshape(before.shape)
                    score = torch.where((label == number) & (before > 0), new, score)
            return _by_score(_with_scores(found, score))

        return change

    def combine(self, parts: Sequence[Tensor], weights: Sequence[float], mixing: str) -> Tensor:
        """Fused boxes; those of one network stay as they are."""
        from torch._higher_order_ops.scan import scan

        used = [(part, weight) for part, weight in zip(parts, weights, strict=True) if weight > 0]
        if len(used) == 1:
            return used[0][0]
        weighted = [_with_scores(part, part[..., 4] * weight) for part, weight in used]
        together = _by_score(torch.cat(weighted, 1))
        images, many = together.shape[:2]
        none = together.new_zeros(images, many)
        begun = (together.new_zeros(images, many, 4), none, none - 1, none.clone())
        # Each box begins the fused box of its own place, or joins one of an earlier place.
        steps = (together.movedim(1, 0), torch.eye(many, dtype=torch.bool))
        (corners, sums, label, size), _ = scan(_joined, begun, steps)
        # More boxes than models, where a model draws several around one object, make it no more certain.
        score = sums / size.clamp(min=1) * size.clamp(max=len(used))
        fused = torch.cat([corners, score[..., None], label.clamp(min=0)[..., None]], -1)
        return _by_score(fused, max(part.shape[1] for part in parts))

    def values(self, rows: Tensor) -> Tensor:
        """The boxes, of which those without an area are none."""
        has_area = (rows[..., 2:3] > rows[..., 0:1]) & (rows[..., 3:4] > rows[..., 1:2])
        return torch.where(has_area, rows, 0.0)


def probabilities(logits: Tensor) -> Tensor:
    """Probabilities of the classes of every place."""
    return functional.softmax(logits, 1)


def numbers(values: Tensor) -> Tensor:
    """Numbers, which mean themselves."""
    return values


def _sum(parts: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    total = parts[0] * weights[0]
    for one, weight in zip(parts[1:], weights[1:], strict=True):
        total = total + one * weight
    return total


def _log_mean(logs: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """The logarithm of the weighted mean of what `logs` are logarithms of."""
    used = [
        one + torch.log(torch.tensor(weight, dtype=one.dtype))
        for one, weight in zip(logs, weights, strict=True)
        if weight
    ]
    return torch.logsumexp(torch.stack(used), 0)


def _change(known: Mapping[str, Any], rows: int) -> Change:
    """Log-probabilities after one of the calibrations, by its parameters."""
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
    curves = [[float(value) for value in one] for one in known["curves"]]
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
    """One curve for each class; no share is below half a row's, since less cannot be told from zero."""

    def change(scores: Tensor) -> Tensor:
        chances = scores.exp()
        found = torch.stack([curve(chances[:, number]) for number, curve in enumerate(curves)], 1)
        return functional.log_softmax(torch.log(found.clamp(min=1 / (2 * rows))), 1)

    return change


def _isotonic(knots: Tensor, values: Tensor) -> Change:
    """Linear between knots, constant outside of them."""

    def change(scores: Tensor) -> Tensor:
        if len(knots) == 1:
            return torch.zeros_like(scores) + values[0]
        place = (scores[:, None] > knots[None, 1:-1]).sum(1)
        left, right = knots[place], knots[place + 1]
        share = ((scores - left) / (right - left)).clamp(0, 1)
        return values[place] + share * (values[place + 1] - values[place])

    return change


def _histogram(edges: Tensor, values: Tensor) -> Change:
    """The value of the bin; a score on an edge belongs to the bin below."""
    return lambda scores: values[(scores[:, None] > edges[None]).sum(1)]


def _pairs(known: Mapping[str, Any], places: str) -> list[tuple[Tensor, Tensor]]:
    return [(_tensor(one), _tensor(other)) for one, other in zip(known[places], known["values"], strict=True)]


def _tensor(value: Any) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def _with_scores(found: Tensor, scores: Tensor) -> Tensor:
    return torch.cat([found[..., :4], scores[..., None], found[..., 5:]], -1)


def _by_score(found: Tensor, most: int | None = None) -> Tensor:
    """Detections of each image, the highest scores first, and no more than `most`."""
    order = found[..., 4].topk(found.shape[1] if most is None else most, 1).indices
    return found.gather(1, order[..., None].expand(-1, -1, found.shape[2]))


# Of each image, for all places: corners, sums of scores, class and number of parts.
Fused = tuple[Tensor, Tensor, Tensor, Tensor]


def _joined(fused: Fused, step: tuple[Tensor, Tensor]) -> tuple[Fused, Tensor]:
    """Fused boxes with one more box of each image.

    Args:
        fused: Shapes (n, places, 4) and three times (n, places).
        step: The boxes, shape (n, 6), and a mask of the place that is theirs where they begin one, shape (places,).
    """
    (corners, sums, label, size), (own, at) = fused, step
    share = _overlaps(own[:, None, :4], corners).where(label == own[:, 5:6], -1)
    places = torch.arange(share.shape[1])
    joins = share.amax(1, keepdim=True) > LEAST_OVERLAP
    # ONNX Runtime chooses between no truths.
    place = ((joins & (places == share.argmax(1, keepdim=True))) | (~joins & at)) & (own[:, 4:5] > 0)
    score = own[:, 4:5].where(place, 0)
    total = sums + score
    moved = (corners * sums[..., None] + own[:, None, :4] * score[..., None]) / total[..., None]
    after = (
        moved.where(place[..., None], corners),
        total,
        own[:, 5:6].where(place, label),
        size + place.to(size.dtype),
    )
    return after, own[:, 4].clone()


def _overlaps(one: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of broadcast boxes, shape (..., 4) each; 0 of boxes without an area."""
    sides = torch.minimum(one[..., 2:], others[..., 2:]) - torch.maximum(one[..., :2], others[..., :2])
    inside = sides.clamp(min=0).prod(-1)
    union = (one[..., 2:] - one[..., :2]).prod(-1) + (others[..., 2:] - others[..., :2]).prod(-1) - inside
    return torch.where(union > 0, inside / union, 0.0)
