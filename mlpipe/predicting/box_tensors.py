"""Boxes as tensors: calibration, fusion and comparison, for exported files.

The same as `mlpipe.post.ensembling.box_fusion` and `mlpipe.kinds.detection.post`, which work on arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlpipe.arch import boxes
from mlpipe.post.ensembling.box_fusion import LEAST_OVERLAP
from mlpipe.post.measures.box_metrics import LEAST_SCORE
from mlpipe.predicting.output_tensors import Change, Classes
from mlpipe.predicting.parity import Array, Difference

# An image with at least this many boxes may have had the most that a network returns, as boxes outside of it are dropped.
_MANY = boxes.MOST // 2


def _survivors(corners: Any, scores: Any, labels: Any, classes: int, iou: float) -> Any:
    """`mlpipe.arch.boxes.survivors` in operators of ONNX, whose non-maximum suppression takes the scores of each class."""
    import onnxscript

    # While a graph is traced, lists may stand for tensors.
    op: Any = onnxscript.opset18
    numbers = op.Constant(value_ints=list(range(classes)))
    is_own = op.Equal(op.Unsqueeze(labels, [1]), op.Reshape(numbers, [1, classes, 1]))
    by_class = op.Where(is_own, op.Unsqueeze(scores, [1]), op.Constant(value_float=-1.0))
    most = op.Constant(value_ints=[torch.iinfo(torch.int64).max])
    indices = op.NonMaxSuppression(
        corners, by_class, most, op.Constant(value_floats=[iou]), op.Constant(value_floats=[-0.5])
    )
    none = op.Sub(by_class, by_class)
    ones = op.Expand(op.Constant(value_floats=[1.0]), op.Slice(op.Shape(indices), [0], [1]))
    return op.Greater(op.ReduceMax(op.ScatterND(none, indices, ones), [1], keepdims=0), op.Constant(value_float=0.0))


def _survivors_in_steps(places: Tensor, scores: Tensor, labels: Tensor, classes: int, iou: float) -> Tensor:
    """`mlpipe.arch.boxes.survivors` in PyTorch's own operators: box by box, by falling score."""
    from torch._higher_order_ops.scan import scan

    corners, is_box = places.double(), scores >= 0
    first, last = corners[..., :2], corners[..., 2:]
    ends = torch.minimum(last[:, :, None], last[:, None]) - torch.maximum(first[:, :, None], first[:, None])
    shared = ends.clamp(min=0).prod(-1)
    area = (corners[..., 2] - corners[..., 0]) * (corners[..., 3] - corners[..., 1])
    overlap = shared / (area[:, :, None] + area[:, None] - shared)
    clashes = (overlap > iou) & (labels[:, :, None] == labels[:, None])
    own = torch.eye(scores.shape[1], dtype=torch.bool, device=scores.device)
    steps = (clashes.movedim(2, 0), is_box.movedim(1, 0), own)
    survivors: Tensor = scan(_add_kept_box, torch.zeros_like(is_box), steps)[0]
    return survivors


def _add_kept_box(survivors: Tensor, of_box: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Add one more box to the kept boxes, (n, rows), if it clashes with none of them."""
    clashes, is_there, place = of_box
    is_kept = is_there & ~(survivors & clashes).any(1)
    return survivors | (is_kept[:, None] & place), is_kept.clone()


class Boxes:
    """Outputs are detections, shape (n, boxes, 6): corners, score and class number; a score of 0 marks an empty place.

    Detections of several networks are fused as in `mlpipe.post.ensembling.box_fusion`.
    """

    OUTPUTS: tuple[str, ...] = ("values",)
    OPERATORS: Mapping[Any, Callable[..., Any]] = MappingProxyType({boxes.survivors._opoverload: _survivors})
    DECOMPOSITIONS: Mapping[Any, Callable[..., Any]] = MappingProxyType(
        {boxes.survivors._opoverload: _survivors_in_steps}
    )
    # The width of a box is the exponential of an output of such a layer, which also returns scores of a far larger range.
    EXACT_END = True

    def placed(self, outputs: Tensor, size: tuple[Any, ...], input_size: tuple[Any, ...]) -> Tensor:
        """Return boxes in pixels of the samples, zeros where there is none, in double precision."""
        detections = outputs.double()
        (height, width), (high, wide) = size, input_size
        corners = [detections[..., place] * (width, height)[place % 2] / (wide, high)[place % 2] for place in range(4)]
        moved = torch.cat([torch.stack(corners, -1), detections[..., 4:]], -1)
        return torch.where(detections[..., 4:5] > 0, moved, 0.0)

    def calibrated(self, plain: Mapping[str, Any]) -> Change:
        """Return a function that calibrates the scores by a stored `mlpipe.post.calibration.labels.LabelCalibration`."""
        of_classes = Classes()
        changes = [
            None if calibration is None else of_classes.calibrated(calibration) for calibration in plain["labels"]
        ]

        def change(detections: Tensor) -> Tensor:
            before, label = detections[..., 4], detections[..., 5]
            within = before.clamp(LEAST_SCORE, 1 - LEAST_SCORE)
            odds = (within.log() - torch.log(1 - within)).reshape(-1, 1)
            both, score = torch.cat([torch.zeros_like(odds), odds], 1), before
            for number, label_change in enumerate(changes):
                if label_change is not None:
                    new = label_change(both)[:, 1].exp().clamp(LEAST_SCORE, 1).reshape(before.shape)
                    score = torch.where((label == number) & (before > 0), new, score)
            return _by_score(_with_scores(detections, score))

        return change

    def combine(self, parts: Sequence[Tensor], weights: Sequence[float], mixing: str) -> Tensor:
        """Return fused boxes; those of a single network are unchanged."""
        from torch._higher_order_ops.scan import scan

        used = [(part, weight) for part, weight in zip(parts, weights, strict=True) if weight > 0]
        if len(used) == 1:
            return used[0][0]
        weighted = [_with_scores(part, part[..., 4] * weight) for part, weight in used]
        together = _by_score(torch.cat(weighted, 1))
        images, box_count = together.shape[:2]
        none = together.new_zeros(images, box_count)
        begun = (together.new_zeros(images, box_count, 4), none, none - 1, none.clone())
        # Each box starts a fused box in its own place, or joins one in an earlier place.
        steps = (together.movedim(1, 0), torch.eye(box_count, dtype=torch.bool))
        (corners, sums, label, size), _ = scan(_fuse_box, begun, steps)
        # More boxes than models, where a model predicts several around one object, do not raise the score.
        score = sums / size.clamp(min=1) * size.clamp(max=len(used))
        fused = torch.cat([corners, score[..., None], label.clamp(min=0)[..., None]], -1)
        return _by_score(fused, max(part.shape[1] for part in parts))

    def values(self, rows: Tensor) -> Tensor:
        """Return the boxes; those without an area are emptied."""
        has_area = (rows[..., 2:3] > rows[..., 0:1]) & (rows[..., 3:4] > rows[..., 1:2])
        return torch.where(has_area, rows, 0.0)

    def difference(
        self, references: Sequence[Array], outputs: Sequence[Array], sides: Sequence[int], least: Array, limit: float
    ) -> Difference:
        """Compare box by box, see `difference` of this module."""
        return difference(references, outputs, sides, least, limit)


def difference(
    references: Sequence[Array], outputs: Sequence[Array], sides: Sequence[int], least: Array, limit: float
) -> Difference:
    """Compare the boxes of all images: a box is in both outputs if both have one of its class within the limit.

    A box in only one of the two is ignored if its score is nearer than twice the limit to the smallest score of all
    images, below which networks drop boxes, or, in an image with many boxes, to the score of its last box, after which they
    are cut off (`mlpipe.predicting.parity` says why).

    Args:
        references: The models' boxes of each image: corners, score and class number, shape (k, 6).
        outputs: The file's boxes, including those without a score.
        sides: The longer side of each image in pixels.
        least: The score threshold of each class.
        limit: The largest distance of equal boxes.
    """
    largest, decided, alone, box_count = 0.0, 0, 0, 0
    found = [output[output[:, 4] > 0].astype(np.float64) for output in outputs]
    smallest = min((float(rows[:, 4].min()) for rows in (*references, *found) if len(rows)), default=0.0)
    for reference, other, side in zip(references, found, sides, strict=True):
        apart = np.abs(reference[:, None, :5] - other[None, :, :5]) / np.array([side, side, side, side, 1.0])
        far = np.where(reference[:, None, 5] == other[None, :, 5], apart.max(axis=2), np.inf)
        # A box with a NaN is near to no other.
        far = np.where(np.isnan(far), np.inf, far)
        last = smallest
        if max(len(reference), len(other)) >= _MANY:
            last = min([*reference[:, 4], *other[:, 4]])
        for rows, nearest in ((reference, far.min(axis=1, initial=np.inf)), (other, far.min(axis=0, initial=np.inf))):
            is_alone = (nearest > limit) & (rows[:, 4] > last + 2 * limit)
            is_kept = rows[:, 4] > least[rows[:, 5].astype(np.int64)] + limit
            largest = max(largest, float(nearest[nearest <= limit].max(initial=0.0)))
            decided, alone, box_count = (
                decided + int((is_alone & is_kept).sum()),
                alone + int(is_alone.sum()),
                box_count + len(rows),
            )
    return Difference(largest, decided, len(references), alone / max(box_count, 1))


def _with_scores(detections: Tensor, scores: Tensor) -> Tensor:
    return torch.cat([detections[..., :4], scores[..., None], detections[..., 5:]], -1)


def _by_score(detections: Tensor, most: int | None = None) -> Tensor:
    """Return the detections of each image, the highest scores first, and no more than `most`."""
    order = detections[..., 4].topk(detections.shape[1] if most is None else most, 1).indices
    return detections.gather(1, order[..., None].expand(-1, -1, detections.shape[2]))


# The state for each image and place: corners, summed scores, class and number of parts.
Fused = tuple[Tensor, Tensor, Tensor, Tensor]


def _fuse_box(fused: Fused, step: tuple[Tensor, Tensor]) -> tuple[Fused, Tensor]:
    """Fuse one more box of each image.

    Args:
        fused: Shapes (n, places, 4) and three times (n, places).
        step: The boxes, shape (n, 6), and a mask of the place in which they start a fused box, shape (places,).
    """
    (corners, sums, label, size), (own, at) = fused, step
    share = _overlaps(own[:, None, :4], corners).where(label == own[:, 5:6], -1)
    places = torch.arange(share.shape[1])
    joins = share.amax(1, keepdim=True) > LEAST_OVERLAP
    # ONNX Runtime has no `where` for booleans.
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


def _overlaps(box: Tensor, others: Tensor) -> Tensor:
    """Return the intersection over union of broadcast boxes, shape (..., 4) each; 0 for boxes without an area."""
    sides = torch.minimum(box[..., 2:], others[..., 2:]) - torch.maximum(box[..., :2], others[..., :2])
    inside = sides.clamp(min=0).prod(-1)
    union = (box[..., 2:] - box[..., :2]).prod(-1) + (others[..., 2:] - others[..., :2]).prod(-1) - inside
    return torch.where(union > 0, inside / union, 0.0)
