"""The loss of detectors with anchors: boxes, objectness and classes as in YOLOv3."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torchvision.ops import complete_box_iou_loss, generalized_box_iou_loss

from mlpipe.arch import boxes as box_rows
from mlpipe.arch.boxes import BOX, PLACES
from mlpipe.learn.losses.labels import Labels, refuse_unless

Form = Literal["squared", "giou", "ciou"]


def yolov3(
    labels: Labels,
    *,
    box: Literal["squared", "giou", "ciou"] = "squared",
    ignore_iou: Annotated[float, "> 0", "<= 1"] = 0.5,
    match_iou: Annotated[float, "> 0", "<= 1"] | None = None,
    box_weight: Annotated[float, ">= 0"] = 1.0,
    object_weight: Annotated[float, ">= 0"] = 1.0,
    class_weight: Annotated[float, ">= 0"] = 1.0,
) -> nn.Module:
    """The loss of YOLOv3 (Redmon & Farhadi 2018): boxes, objectness and classes over the anchors of all cells.

    Args:
        labels: Facts about the training images.
        box: Squared errors of the centre and the logarithm of the sides, as in the paper; or 1 - generalised (Rezatofighi
            et al. 2019) or complete (Zheng et al. 2020) intersection over union.
        ignore_iou: Anchors without an object whose predicted box overlaps an object by more than this are not trained to
            predict "nothing".
        match_iou: An object is also learned by the anchors of its cells whose shape overlaps its own by at least this; None:
            by the best anchor only, as in the paper.
        box_weight: The weight of the box term.
        object_weight: The weight of the objectness term.
        class_weight: The weight of the class term.
    """
    refuse_unless(lambda its: "yolov3" in its.losses, "yolov3", labels)
    return Yolov3(box, ignore_iou, match_iou, (box_weight, object_weight, class_weight))


class Yolov3(nn.Module):
    """The mean over images of the sum of three terms computed from raw rows, see `mlpipe.arch.boxes`.

    Args:
        box: As for `yolov3`.
        ignore_iou: As for `yolov3`.
        match_iou: As for `yolov3`.
        weights: Weights of the box, objectness and class terms.
    """

    def __init__(
        self, box: Form, ignore_iou: float, match_iou: float | None, weights: tuple[float, float, float]
    ) -> None:
        super().__init__()
        self._box, self._ignore_iou, self._match_iou, self._weights = box, ignore_iou, match_iou, weights

    def forward(self, outputs: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return the loss of a batch; images with unknown boxes are left out.

        Args:
            outputs: Raw rows, shape (n, rows, 5 + classes + 6).
            target: Boxes with their classes, shape (n, boxes, 5), padded with NaN; the first class is -1 for an image with
                unknown boxes.
            weight: Image weights, shape (n,).
        """
        terms = self.terms(outputs, target)
        losses = (terms * terms.new_tensor(self._weights)).sum(1)
        known = (target[:, 0, 4] != -1).to(losses.dtype)
        shares = known if weight is None else known * weight.to(losses.dtype)
        return (losses * shares).sum() / shares.sum().clamp(min=torch.finfo(losses.dtype).tiny)

    def terms(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return the unweighted box, objectness and class terms of each image, shape (n, 3)."""
        place, true = (target[..., 4] >= 0).nonzero(as_tuple=True)
        truth = target[place, true].to(outputs.dtype)
        claimed = matches(outputs, place, truth, self._match_iou)
        image, row, which = claimed
        objects = torch.zeros_like(outputs[..., 4])
        objects[image, row] = 1
        counted = (objects > 0) | ~self._overlap_mask(outputs.detach(), place, truth)
        unsure = F.binary_cross_entropy_with_logits(outputs[..., 4], objects, reduction="none")
        chosen, true_boxes = outputs[image, row], truth[which]
        classes = F.one_hot(true_boxes[:, 4].long(), outputs.shape[2] - BOX - PLACES).to(outputs.dtype)
        wrong = F.binary_cross_entropy_with_logits(chosen[:, BOX:-PLACES], classes, reduction="none").sum(1)
        empty = outputs.new_zeros(len(outputs))
        return torch.stack(
            [
                empty.index_add(0, image, _box_distances(self._box, chosen, true_boxes)),
                (unsure * counted).sum(1),
                empty.index_add(0, image, wrong),
            ],
            1,
        )

    def _overlap_mask(self, outputs: Tensor, place: Tensor, truth: Tensor) -> Tensor:
        """Return which rows predict a box that overlaps one of the image's by more than `ignore_iou`, shape (n, rows)."""
        first, second = box_rows.decoded(outputs)[place], truth[:, None, :4]
        common = (
            torch.minimum(first[..., 2:], second[..., 2:]) - torch.maximum(first[..., :2], second[..., :2])
        ).clamp(0)
        overlap = common.prod(-1)
        areas = (first[..., 2:] - first[..., :2]).prod(-1) + (second[..., 2:] - second[..., :2]).prod(-1)
        above = (overlap / (areas - overlap).clamp(min=1e-12) > self._ignore_iou).to(outputs.dtype)
        return torch.zeros_like(outputs[..., 4]).index_add(0, place, above) > 0


class OfNetwork(nn.Module):
    """The loss computed by the network itself, or another loss for networks that output raw rows.

    Args:
        otherwise: The other loss, called with raw rows, targets and image weights.
    """

    def __init__(self, otherwise: nn.Module) -> None:
        super().__init__()
        self._usual_loss = otherwise

    def forward(self, outputs: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return the loss of a batch.

        Args:
            outputs: Raw rows, or terms computed by the network, shape (n, terms), the batch's terms repeated for each image.
            target: As for `Yolov3`.
            weight: As for `Yolov3`; not used with a network's own terms.
        """
        if outputs.ndim == 2:
            return outputs.sum(1).mean()
        loss: Tensor = self._usual_loss(outputs, target, weight)
        return loss


def matches(outputs: Tensor, place: Tensor, truth: Tensor, match_iou: float | None) -> tuple[Tensor, Tensor, Tensor]:
    """Assign objects to rows: to each object the anchor of most similar shape in the cells that hold its centre, and other
    anchors there that are similar enough.

    A row claimed by several objects learns the one whose shape is most similar to its anchor.

    Args:
        outputs: Raw rows, shape (n, rows, columns).
        place: The number of each object's image, shape (objects,).
        truth: Boxes and classes, shape (objects, 5).
        match_iou: Overlap of shapes from which further anchors learn an object; None: no further anchors.

    Returns:
        Numbers of images, rows and objects, of the same length.
    """
    # The positions of rows are the same in all images.
    cells, anchors = outputs[0, :, -PLACES:-2].detach(), outputs[0, :, -2:].detach()
    end = (cells[:, :2] + cells[:, 2:]).amax(0)
    centre = ((truth[:, :2] + truth[:, 2:4]) / 2).clamp(min=0).minimum(end * (1 - 1e-6))[:, None]
    is_inside = ((centre >= cells[:, :2]) & (centre < cells[:, :2] + cells[:, 2:])).all(2)
    similar = box_rows.shape_iou((truth[:, 2:4] - truth[:, :2])[:, None], anchors[None])
    similar = torch.where(is_inside, similar, -1.0)
    claims = torch.zeros_like(is_inside) if match_iou is None else similar >= match_iou
    if len(truth):
        claims = claims.scatter(1, similar.argmax(1, keepdim=True), True)
    which, row = claims.nonzero(as_tuple=True)
    order = similar[which, row].argsort(descending=True, stable=True)
    key = (place[which] * outputs.shape[1] + row)[order]
    # The first claim of each row, which is that of the most similar shape.
    by_row = key.argsort(stable=True)
    ordered = key[by_row]
    is_first = torch.ones_like(ordered, dtype=torch.bool)
    is_first[1:] = ordered[1:] != ordered[:-1]
    winners = order[by_row[is_first]]
    return place[which[winners]], row[winners], which[winners]


def _box_distances(form: Form, rows: Tensor, truth: Tensor) -> Tensor:
    """Return the distance of each row's box to its true box, shape (objects,)."""
    if form != "squared":
        measure = complete_box_iou_loss if form == "ciou" else generalized_box_iou_loss
        apart: Tensor = measure(box_rows.decoded(rows), truth[:, :4])
        return apart
    cells, anchors = rows[:, -PLACES:-2], rows[:, -2:]
    centre = ((truth[:, :2] + truth[:, 2:4]) / 2 - cells[:, :2]) / cells[:, 2:]
    sides = ((truth[:, 2:4] - truth[:, :2]).clamp(min=1e-3) / anchors).log()
    predicted = torch.cat([rows[:, :2].sigmoid(), rows[:, 2:4]], 1)
    return (predicted - torch.cat([centre, sides], 1)).square().sum(1)
