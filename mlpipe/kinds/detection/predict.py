"""Predictions of boxes: detections in pixels of the samples' files; for new images tables, COCO JSON and pictures."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mlpipe.data import sources
from mlpipe.data.cache.packs import Pack
from mlpipe.data.sampling import Rows
from mlpipe.data.sources.listings import file_headers
from mlpipe.data.sources.targets import boxes
from mlpipe.data.task import Task
from mlpipe.errors import counted
from mlpipe.post.ensembling.box_fusion import fused_boxes
from mlpipe.post.ensembling.member_rows import Rows as MixedRows
from mlpipe.post.measures.box_metrics import as_outputs, as_targets, detections_of
from mlpipe.predicting import box_tensors
from mlpipe.predicting.batches import Batch, Places, Sizes
from mlpipe.predicting.in_hand import InHand, Shown
from mlpipe.predicting.new_samples import NewSamples
from mlpipe.reports import drawn_boxes, gallery
from mlpipe.runs.sinks import Predicted
from mlpipe.runs.sinks.box_files import NUMBERS, BoxFiles, Found

__all__ = [
    "NEW", "NOT_EXPORTED", "NOT_IN_HAND", "SCORE", "TABLE", "TENSORS",
    "kept", "mean", "measured", "places", "shown", "write_new",
]  # fmt: skip

NOT_IN_HAND = ""
NOT_EXPORTED = ""
TENSORS = box_tensors.Boxes()
NEW = "boxes"
# A sample has any number of boxes, so it is not one row of a table.
TABLE = None

# The largest score below 1 in single precision: logarithms stay finite, and no box with a higher score loses its gradient.
_MOST_CERTAIN = 1 - 2.0**-24
# The threshold for drawing boxes of a class for which none was chosen.
_LEAST = 0.5

log = logging.getLogger("mlpipe")


def score(outputs: Tensor, classes: Tensor) -> Tensor:
    """Return the confidence that any object of the class is present: -log of the probability that no box of it is right.

    Its gradient with respect to a box's log-odds is the box's score, so all objects contribute, confident ones most.

    Args:
        outputs: Detections, shape (n, boxes, 6), NaN where there is none.
        classes: The class number of each image, shape (n,).
    """
    scores = outputs[..., 4].nan_to_num(0.0).clamp(0, _MOST_CERTAIN)
    return -torch.where(outputs[..., 5] == classes[:, None], torch.log1p(-scores), 0.0).sum(1)


SCORE = score


def places(task: Task, pack: Pack, sizes: Sizes | None = None) -> Places | None:
    """Return the places, computed from the sizes of the files and the transforms applied before caching."""
    of_files = sizes if sizes is not None else _sizes(task)

    def seen(rows: Rows) -> npt.NDArray[np.float64]:
        own = of_files[rows]
        if pack.places is None:
            return boxes.placing(pack.preprocessing, own)
        cached = pack.places[rows][:, :0:-1]
        first, then = boxes.stretching(own, cached), boxes.placing(pack.preprocessing, cached)
        return np.stack([then[..., 0] * first[..., 0], then[..., 0] * first[..., 1] + then[..., 1]], axis=-1)

    return seen


def kept(outputs: Tensor, batch: Batch, loss: nn.Module | None) -> Predicted:
    """Return detections and true boxes, both in pixels of the files."""
    detections = outputs.float().cpu().numpy()
    true = np.full((len(detections), 1, 5), np.nan, np.float32)
    true[:, 0, 4] = boxes.UNKNOWN
    # If no sample has boxes, the targets are unknown numbers.
    if batch.target is not None and batch.target.ndim == 3:
        true = batch.target.float().cpu().numpy()
    if batch.places is not None:
        detections, true = (np.stack(boxes.unplaced(list(part), batch.places)) for part in (detections, true))
    return Predicted(batch.ids, as_outputs(detections), as_targets(true))


def measured(outputs: Tensor, target: Tensor, loss: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
    """Return rows of detections and of true boxes; the loss is NaN because it needs the network's training outputs."""
    rows = (as_outputs(outputs.float().cpu().numpy()), as_targets(target.float().cpu().numpy()))
    return torch.from_numpy(rows[0]), torch.from_numpy(rows[1]), torch.tensor(torch.nan)


def mean(parts: Sequence[Tensor], weights: Sequence[float], mixing: str) -> Tensor:
    """Return fused boxes, zeros where there is none."""
    rows = fused_boxes([as_outputs(part.float().cpu().numpy()).astype(np.float64) for part in parts], weights)
    return torch.from_numpy(rows.astype(np.float32).reshape(len(rows), -1, 6)).to(parts[0].device)


def shown(new: InHand) -> Shown:
    """Return one row per box in pixels of its sample, with its score and whether the score reaches the threshold."""
    rows, least = _fused_boxes(new)
    cells, values = list[list[dict[str, Any]]](), list[npt.NDArray[np.float64]]()
    for detections, size in zip(detections_of(rows.calibrated), new.sizes, strict=True):
        own, is_kept = _clipped_detections(detections, size, least)
        values.append(own)
        cells.append(
            [
                {**dict(zip(NUMBERS, box, strict=False)), "class": new.pivot.classes[int(box[5])], "kept": flag}
                for box, flag in zip(own.tolist(), is_kept.tolist(), strict=True)
            ]
        )
    return Shown(cells, values)


def write_new(new: NewSamples) -> dict[str, Any]:
    """Write a table of boxes as CSV and Parquet, COCO JSON, and a picture of each image with its boxes."""
    rows, least = _fused_boxes(new)
    new.rows.store(rows)
    classes = list(new.pivot.classes)
    detections = dict(zip(rows.ids, detections_of(rows.calibrated), strict=True))
    read, sink = sources.reader(new.task, new.task.channels), BoxFiles(new.folder, new.table, classes)
    for number, name in enumerate(new.task.samples.ids):
        new.after(number + 1)
        title = new.sample_title(name)
        if name in new.unreadable:
            sink.add_unreadable(title, new.unreadable[name])
            continue
        pixels = read(number)
        own, is_kept = _clipped_detections(detections[name], pixels.shape, least)
        drawing = gallery.picture(pixels)
        drawn_boxes.draw(drawing, own[is_kept], [drawn_boxes.named(box, classes) for box in own[is_kept]])
        sink.add(Found(title, pixels.shape[1], pixels.shape[0], own, is_kept), drawing)
    facts = sink.close()
    readable = len(new.task.samples.ids) - len(new.unreadable)
    failed = f"; {len(new.unreadable)} unreadable" if new.unreadable else ""
    summary = (
        f"{counted(sink.kept, 'box', 'boxes')} in {counted(readable, 'image')} by {counted(len(new.models), 'model')}"
    )
    cuts = ", ".join(f"{name} {value:.3f}" for name, value in zip(classes, least.tolist(), strict=True))
    log.info(f"{summary}{failed}; drawn, and `kept` in the tables, are scores from {cuts} on")
    log.info(f"look at: {new.folder} and {new.table}")
    about = {
        "source": new.source,
        "images": len(new.task.samples.ids),
        "task": new.task.name,
        "models": len(new.models),
    }
    return {**about, **facts, "boxes": sink.kept, "unreadable": dict(new.unreadable)}


def _sizes(task: Task) -> npt.NDArray[np.int64]:
    """Return the width and height of each file, shape (n, 2)."""
    if (source := sources.open(task)).has_objects:
        return source.objects().sizes
    base = sources.root(task)
    if base is None:
        pixels = sources.reader(task, task.channels)
        return np.array([pixels(row).shape[1::-1] for row in range(len(task.samples))], np.int64).reshape(-1, 2)
    looks = file_headers.look([base / name for name in task.samples.ids])
    return np.array([(header.width, header.height) for header in looks], np.int64).reshape(-1, 2)


def _fused_boxes(new: NewSamples | InHand) -> tuple[MixedRows, npt.NDArray[np.float64]]:
    """Return fused boxes and the score threshold of each class."""
    decided = new.rows.decided(None).get("thresholds", {}).get("cuts", {})
    least = [_LEAST if decided.get(name) is None else decided[name] for name in new.pivot.classes]
    return new.rows.mixed(), np.array(least)


def _clipped_detections(
    detections: npt.NDArray[np.float64], shape: tuple[int, ...], least: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Clip detections to their image and drop those outside of it; return them and which of them are kept."""
    own = detections[detections[:, 4] > 0].copy()
    own[:, 0:4:2], own[:, 1:4:2] = np.clip(own[:, 0:4:2], 0, shape[1]), np.clip(own[:, 1:4:2], 0, shape[0])
    own = own[(own[:, 2:4] > own[:, :2]).all(axis=1)]
    return own, own[:, 4] >= least[own[:, 5].astype(np.int64)]
