"""Box operations as pure functions: anchors, decoding, non-maximum suppression, and anchors by k-means.

A raw row belongs to one anchor of one cell of a grid over the image. It holds the network's output for the anchor,
followed by its position, so that losses and decoding need to know neither the network nor the grids:

    tx, ty, tw, th, objectness, one logit per class, then `PLACES` columns: left, top, width and height of the cell, width
    and height of the anchor, in pixels of the network's input

Boxes are x0, y0, x1, y1 in these pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torchvision.ops import batched_nms

# Maximum number of detections per image, as in COCO.
MOST = 100
# Columns of a detection: a box, its score and its class.
COLUMNS = 6
# Columns of a raw row for its cell and anchor.
PLACES = 6
# Columns of a raw row before its classes: the box and the objectness.
BOX = 5
# Number of highest-scoring boxes of an image that enter non-maximum suppression.
_CANDIDATES = 1000
# Logarithm of the largest factor on an anchor's side, 1000 / 16 as in torchvision's detectors; larger boxes are nonsense.
_LARGEST = 4.135166556742356
# Anchors of YOLOv3 (Redmon & Farhadi 2018) for images of 416 x 416 pixels: widths and heights, smallest first.
PAPER_SIDE = 416
PAPER: tuple[tuple[float, float], ...] = (
    (10, 13),
    (16, 30),
    (33, 23),
    (30, 61),
    (62, 45),
    (59, 119),
    (116, 90),
    (156, 198),
    (373, 326),
)

Sizes = npt.NDArray[np.float64]


def rows(values: Tensor, grids: Sequence[tuple[int, int]], sides: tuple[int, int], anchors: Tensor) -> Tensor:
    """Return the raw rows for a network's output on the cells of its grids.

    Args:
        values: Shape (n, cells, anchors x (5 + classes)): the cells of each grid in row-major order, grid after grid.
        grids: Rows and columns of each grid.
        sides: Height and width of the images.
        anchors: Widths and heights, shape (grids, anchors, 2), in pixels.

    Returns:
        Shape (n, cells x anchors, 5 + classes + `PLACES`), float32.
    """
    anchor_count = anchors.shape[1]
    split = values.float().reshape(values.shape[0], values.shape[1] * anchor_count, -1)
    places = torch.cat([_cells_and_anchors(grid, sides, own) for grid, own in zip(grids, anchors, strict=True)])
    return torch.cat([split, places.to(split).expand(split.shape[0], -1, -1)], 2)


def _cells_and_anchors(grid: tuple[int, int], sides: tuple[int, int], anchors: Tensor) -> Tensor:
    """Return cell and anchor of each raw row of one grid, shape (rows x columns x anchors, 6)."""
    down, across = grid
    height, width = sides[0] / down, sides[1] / across
    top = torch.arange(down, device=anchors.device) * height
    left = torch.arange(across, device=anchors.device) * width
    y, x = torch.meshgrid(top, left, indexing="ij")
    cells = torch.stack([x, y, torch.full_like(x, width), torch.full_like(x, height)], 2).flatten(0, 1)
    both = cells[:, None].expand(-1, len(anchors), -1), anchors[None].expand(len(cells), -1, -1).to(cells.dtype)
    return torch.cat(both, 2).flatten(0, 1)


def decoded(raw: Tensor) -> Tensor:
    """Decode raw rows to boxes, shape (n, rows, 4): centres inside their cells, sides as multiples of their anchors.

    The parametrisation is that of YOLOv3 (Redmon & Farhadi 2018, section 2.1).

    Args:
        raw: Raw rows as returned by `rows`.
    """
    cells, anchors = raw[..., -PLACES:-2], raw[..., -2:]
    centre = cells[..., :2] + raw[..., :2].sigmoid() * cells[..., 2:]
    half = anchors * raw[..., 2:4].clamp(max=_LARGEST).exp() / 2
    return torch.cat([centre - half, centre + half], -1)


def detections(raw: Tensor, sides: tuple[int, int], *, min_score: float, iou: float) -> Tensor:
    """Return the detections in raw rows, shape (n, `MOST`, 6); see `suppressed`.

    Args:
        raw: Raw rows as returned by `rows`; a score is the product of objectness and class probability.
        sides: Height and width of the images.
        min_score: As for `suppressed`.
        iou: As for `suppressed`.
    """
    scores = raw[..., 4:BOX].sigmoid() * raw[..., BOX:-PLACES].sigmoid()
    return suppressed(clipped(decoded(raw), sides), scores, min_score=min_score, iou=iou)


def clipped(boxes: Tensor, sides: tuple[int, int]) -> Tensor:
    """Clip boxes, shape (..., 4), to an image with `sides` height and width."""
    height, width = sides
    return torch.stack([part.clamp(0, (width, height)[place % 2]) for place, part in enumerate(boxes.unbind(-1))], -1)


def suppressed(boxes: Tensor, scores: Tensor, *, min_score: float, iou: float, most: int = MOST) -> Tensor:
    """Return the detections that per-class non-maximum suppression keeps.

    Each box is a candidate once per class. Only the 1,000 highest scores of an image are considered.

    Args:
        boxes: Shape (n, rows, 4).
        scores: Shape (n, rows, classes), 0 to 1.
        min_score: Detections with a lower score are dropped.
        iou: Of two boxes of a class that overlap by more than this, the one with the lower score is dropped.
        most: Maximum number of detections per image.

    Returns:
        Shape (n, most, 6): x0, y0, x1, y1, score, class number, by descending score; NaN where an image has fewer.
    """
    classes = scores.shape[2]
    flat = scores.flatten(1)
    top, place = flat.topk(min(flat.shape[1], _CANDIDATES), 1)
    chosen = boxes.gather(1, (place // classes)[..., None].expand(-1, -1, 4))
    label = place % classes
    mask = survivors(chosen.detach().float(), top.detach().float().where(top >= min_score, -1), label, classes, iou)
    # Candidates get descending numbers, so that equal scores keep their order.
    left = torch.arange(top.shape[1], 0, -1, dtype=torch.float32, device=top.device)
    number, slot = left.where(mask, 0).topk(min(most, top.shape[1]), 1)
    columns = torch.cat([chosen, top[..., None], label[..., None].to(chosen.dtype)], 2)
    result = columns.gather(1, slot[..., None].expand(-1, -1, COLUMNS)).masked_fill(number[..., None] == 0, torch.nan)
    return F.pad(result, (0, 0, 0, most - result.shape[1]), value=torch.nan)


@torch.library.custom_op(
    "mlpipe::survivors",
    mutates_args=(),
    schema="(Tensor boxes, Tensor scores, Tensor labels, int classes, float iou) -> Tensor",
)
def survivors(boxes: Tensor, scores: Tensor, labels: Tensor, classes: int, iou: float) -> Tensor:
    """Return a mask, shape (n, rows), of the boxes that non-maximum suppression keeps, per image and class.

    This is a custom operator because exported files name the operation differently (`mlpipe.predicting.box_tensors`).

    Args:
        boxes: Shape (n, rows, 4).
        scores: Shape (n, rows), descending within each image; a negative score marks no box.
        labels: Class numbers, shape (n, rows).
        classes: Number of classes.
        iou: As for `suppressed`.
    """
    is_box = scores >= 0
    image = torch.arange(len(scores), device=scores.device)[:, None].expand_as(is_box)[is_box]
    # `batched_nms` offsets the boxes of each group, which would cost digits in single precision; MPS has no float64.
    exact = torch.float32 if boxes.device.type == "mps" else torch.float64
    indices = batched_nms(boxes[is_box].to(exact), scores[is_box].to(exact), image * classes + labels[is_box], iou)
    mask = torch.zeros_like(is_box)
    mask.view(-1)[is_box.flatten().nonzero()[:, 0][indices]] = True
    return mask


@survivors.register_fake
def _(boxes: Tensor, scores: Tensor, labels: Tensor, classes: int, iou: float) -> Tensor:
    return torch.empty_like(scores, dtype=torch.bool)


def padded(table: Tensor, image: Tensor, count: int, most: int = MOST) -> Tensor:
    """Return the detections of several images as one padded block per image.

    Args:
        table: Shape (detections, columns), grouped by image and in order.
        image: Image number of each detection, ascending.
        count: Number of images.
        most: Maximum number of detections per image; further ones are dropped.

    Returns:
        Shape (count, most, columns); NaN where an image has fewer.
    """
    first = torch.searchsorted(image, torch.arange(count, device=image.device))
    slot = torch.arange(len(image), device=image.device) - first[image]
    result = table.new_full((count, most, table.shape[1]), torch.nan)
    fits = slot < most
    result[image[fits], slot[fits]] = table[fits]
    return result


def listed(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the detections of each image as an object array of arrays without padding.

    Each array has the shape (boxes, 6): x and y of the upper left corner, width, height, score and class number.

    Args:
        rows: Detections, shape (n, most, columns) or (n, most * columns); padding has the score 0 or NaN.
    """
    arrays = np.empty(len(rows), object)
    for place, block in enumerate(np.asarray(rows, np.float32).reshape(len(rows), -1, COLUMNS)):
        x0, y0, x1, y1, score, label = block[block[:, 4] > 0].T
        arrays[place] = np.column_stack([x0, y0, x1 - x0, y1 - y0, score, label])
    return arrays


def shape_iou(sizes: Tensor, anchors: Tensor) -> Tensor:
    """Return the intersection over union of concentric boxes, given broadcastable sizes, shape (..., 2) each."""
    common = torch.minimum(sizes, anchors).prod(-1)
    return common / (sizes.prod(-1) + anchors.prod(-1) - common).clamp(min=1e-12)


def paper_anchors(sides: tuple[int, int], count: int) -> Sizes:
    """Return the anchors of YOLOv3 scaled to an image size, shape (count, 2), smallest first.

    Other counts than nine are interpolated at even steps between the nine.

    Args:
        sides: Height and width of the images.
        count: Number of anchors.
    """
    whole = np.array(PAPER) * np.array(sides[::-1]) / PAPER_SIDE
    places = np.linspace(0, len(whole) - 1, count) if count > 1 else np.array([(len(whole) - 1) / 2])
    return np.column_stack([np.exp(np.interp(places, np.arange(len(whole)), np.log(side))) for side in whole.T])


def sizes_of(targets: Iterable[npt.NDArray[Any]]) -> Sizes:
    """Return widths and heights of true boxes, shape (n, 2).

    Args:
        targets: Batches of true boxes, shape (images, boxes, 5); padding has a negative or NaN class.
    """
    boxes = np.concatenate([part[part[..., 4] >= 0] for part in targets]).astype(np.float64)
    return np.asarray(boxes[:, 2:4] - boxes[:, :2])


def clustered(sizes: Sizes, count: int, rounds: int = 300) -> Sizes:
    """Return anchors by k-means with the distance 1 - IoU of sizes (Redmon & Farhadi 2017, section 2).

    The initial means are boxes at even steps of area rank, so that the result is deterministic.

    Args:
        sizes: Widths and heights of boxes, shape (n, 2), n at least 1.
        count: Number of anchors.
        rounds: Maximum number of iterations; stops earlier when no assignment changes.

    Returns:
        Shape (count, 2), smallest first.
    """
    ordered = sizes[np.argsort(sizes.prod(1), kind="stable")]
    means = ordered[np.round(np.linspace(0, len(ordered) - 1, 2 * count + 1)[1::2]).astype(int)]
    nearest = np.full(len(ordered), -1)
    for _ in range(rounds):
        common = np.minimum(ordered[:, None], means[None]).prod(2)
        overlap = common / (ordered.prod(1)[:, None] + means.prod(1)[None] - common)
        before, nearest = nearest, overlap.argmax(1)
        if (before == nearest).all():
            break
        # A mean without boxes stays where it is.
        means = np.stack(
            [ordered[nearest == k].mean(0) if (nearest == k).any() else means[k] for k in range(len(means))]
        )
    return np.asarray(means[np.argsort(means.prod(1), kind="stable")])
