"""Boxes of raw rows: anchors, decoding, non-maximum suppression, and anchors by k-means, as pure functions.

A raw row is one anchor of one cell of a grid over the image. It holds what a network gives for it, and behind that where
it stands, so that whoever has the rows needs to know neither the network nor the grids:

    tx, ty, tw, th, objectness, a logit of each class, then `PLACES`: left, top, width and height of the cell, width and
    height of the anchor, in pixels of what the network sees

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

# The most boxes that are predicted of an image, as COCO counts them.
MOST = 100
# Columns of a detection: a box, its score and its class.
COLUMNS = 6
# Columns of a row that say where it stands.
PLACES = 6
# Columns of a row before its classes: the box and the objectness.
BOX = 5
# Boxes of an image that come into a suppression, the surest ones.
_CANDIDATES = 1000
# The largest factor on an anchor's side is that of torchvision's detectors, 1000 / 16: exp() of more is no box.
_LARGEST = 4.135166556742356
# The anchors of YOLOv3 (Redmon & Farhadi 2018) for images of 416 x 416 pixels: widths and heights, small ones first.
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
    """Raw rows of what a network gives for the cells of its grids.

    Args:
        values: Shape (n, cells, anchors x (5 + classes)): the cells of each grid row by row, one grid behind the other.
        grids: Rows and columns of each.
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
    """Cell and anchor of each row of one grid, shape (rows x columns x anchors, 6)."""
    down, across = grid
    height, width = sides[0] / down, sides[1] / across
    top = torch.arange(down, device=anchors.device) * height
    left = torch.arange(across, device=anchors.device) * width
    y, x = torch.meshgrid(top, left, indexing="ij")
    cells = torch.stack([x, y, torch.full_like(x, width), torch.full_like(x, height)], 2).flatten(0, 1)
    both = cells[:, None].expand(-1, len(anchors), -1), anchors[None].expand(len(cells), -1, -1).to(cells.dtype)
    return torch.cat(both, 2).flatten(0, 1)


def decoded(raw: Tensor) -> Tensor:
    """The boxes of raw rows, shape (n, rows, 4): centres inside of their cells, sides as multiples of their anchors.

    The form is that of YOLOv3 (Redmon & Farhadi 2018, section 2.1).

    Args:
        raw: As `rows` gives them.
    """
    cells, anchors = raw[..., -PLACES:-2], raw[..., -2:]
    centre = cells[..., :2] + raw[..., :2].sigmoid() * cells[..., 2:]
    half = anchors * raw[..., 2:4].clamp(max=_LARGEST).exp() / 2
    return torch.cat([centre - half, centre + half], -1)


def detections(raw: Tensor, sides: tuple[int, int], *, min_score: float, iou: float) -> Tensor:
    """The objects that raw rows show, shape (n, `MOST`, 6): see `suppressed`.

    Args:
        raw: As `rows` gives them; a score is the product of objectness and class probability.
        sides: Height and width of the images.
        min_score: As for `suppressed`.
        iou: As for `suppressed`.
    """
    scores = raw[..., 4:BOX].sigmoid() * raw[..., BOX:-PLACES].sigmoid()
    return suppressed(clipped(decoded(raw), sides), scores, min_score=min_score, iou=iou)


def clipped(boxes: Tensor, sides: tuple[int, int]) -> Tensor:
    """Boxes, shape (..., 4), without what lies outside of an image of some height and width."""
    height, width = sides
    return torch.stack([part.clamp(0, (width, height)[place % 2]) for place, part in enumerate(boxes.unbind(-1))], -1)


def suppressed(boxes: Tensor, scores: Tensor, *, min_score: float, iou: float, most: int = MOST) -> Tensor:
    """Boxes with the scores of their classes after non-maximum suppression, each class by itself.

    A box counts once for each class. Of an image the 1,000 largest scores are looked at.

    Args:
        boxes: Shape (n, rows, 4).
        scores: Shape (n, rows, classes), 0 to 1.
        min_score: Smaller scores are left out.
        iou: Of two boxes of a class that overlap by more, the one with the smaller score is left out.
        most: How many an image has at most.

    Returns:
        Shape (n, most, 6): x0, y0, x1, y1, score, class number, falling by score; NaN where an image has fewer.
    """
    classes = scores.shape[2]
    flat = scores.flatten(1)
    top, place = flat.topk(min(flat.shape[1], _CANDIDATES), 1)
    chosen = boxes.gather(1, (place // classes)[..., None].expand(-1, -1, 4))
    label = place % classes
    mask = survivors(chosen.detach().float(), top.detach().float().where(top >= min_score, -1), label, classes, iou)
    # Each has a number, which falls with the scores: of equal ones the first of them come first.
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
    """The boxes that non-maximum suppression leaves, each image and each class by itself, as a mask, shape (n, rows).

    An operator of its own, which a file of another program has another name for (`mlpipe.predicting.box_tensors`).

    Args:
        boxes: Shape (n, rows, 4).
        scores: Shape (n, rows), falling in each image; below zero: no box.
        labels: The class number of each, shape (n, rows).
        classes: How many there are.
        iou: As for `suppressed`.
    """
    is_box = scores >= 0
    image = torch.arange(len(scores), device=scores.device)[:, None].expand_as(is_box)[is_box]
    # Boxes of different groups are moved apart, which in single precision takes digits of their corners; MPS has no double.
    exact = torch.float32 if boxes.device.type == "mps" else torch.float64
    indices = batched_nms(boxes[is_box].to(exact), scores[is_box].to(exact), image * classes + labels[is_box], iou)
    mask = torch.zeros_like(is_box)
    mask.view(-1)[is_box.flatten().nonzero()[:, 0][indices]] = True
    return mask


@survivors.register_fake
def _(boxes: Tensor, scores: Tensor, labels: Tensor, classes: int, iou: float) -> Tensor:
    return torch.empty_like(scores, dtype=torch.bool)


def padded(table: Tensor, image: Tensor, count: int, most: int = MOST) -> Tensor:
    """Detections side by side as one block for each image.

    Args:
        table: Shape (detections, columns), those of an image together and in their order.
        image: The number of each one's image, rising.
        count: How many images there are.
        most: Detections that an image has at most; further ones are left out.

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
    """The detections of each image in an array of its own, without what pads them, as an array of arrays.

    They have the shape (boxes, 6): x and y of the upper left corner, width and height, score and class number.

    Args:
        rows: Detections, shape (n, most, columns) or (n, most * columns), of score 0 or NaN where there is none.
    """
    arrays = np.empty(len(rows), object)
    for place, block in enumerate(np.asarray(rows, np.float32).reshape(len(rows), -1, COLUMNS)):
        x0, y0, x1, y1, score, label = block[block[:, 4] > 0].T
        arrays[place] = np.column_stack([x0, y0, x1 - x0, y1 - y0, score, label])
    return arrays


def shape_iou(sizes: Tensor, anchors: Tensor) -> Tensor:
    """Intersection over union of boxes with one centre, of broadcast widths and heights, shape (..., 2) each."""
    common = torch.minimum(sizes, anchors).prod(-1)
    return common / (sizes.prod(-1) + anchors.prod(-1) - common).clamp(min=1e-12)


def paper_anchors(sides: tuple[int, int], count: int) -> Sizes:
    """The anchors of YOLOv3 in images of some height and width, shape (count, 2), small ones first.

    Other numbers than its nine take sizes evenly out of them, or in between.

    Args:
        sides: Height and width.
        count: How many.
    """
    whole = np.array(PAPER) * np.array(sides[::-1]) / PAPER_SIDE
    places = np.linspace(0, len(whole) - 1, count) if count > 1 else np.array([(len(whole) - 1) / 2])
    return np.column_stack([np.exp(np.interp(places, np.arange(len(whole)), np.log(side))) for side in whole.T])


def sizes_of(targets: Iterable[npt.NDArray[Any]]) -> Sizes:
    """Widths and heights of true boxes, shape (n, 2).

    Args:
        targets: True boxes of some images after others, shape (images, boxes, 5), the class below 0 or NaN where there is none.
    """
    boxes = np.concatenate([part[part[..., 4] >= 0] for part in targets]).astype(np.float64)
    return np.asarray(boxes[:, 2:4] - boxes[:, :2])


def clustered(sizes: Sizes, count: int, rounds: int = 300) -> Sizes:
    """Anchors by k-means of boxes, the distance being 1 - the overlap of shapes (Redmon & Farhadi 2017, section 2).

    It begins with boxes at even steps of area, so that the same boxes give the same anchors.

    Args:
        sizes: Widths and heights of boxes, shape (n, 2), n at least 1.
        count: How many anchors.
        rounds: The most steps; it ends where no box changes its anchor.

    Returns:
        Shape (count, 2), small ones first.
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
        # What no box is nearest to stays where it is.
        means = np.stack(
            [ordered[nearest == k].mean(0) if (nearest == k).any() else means[k] for k in range(len(means))]
        )
    return np.asarray(means[np.argsort(means.prod(1), kind="stable")])
