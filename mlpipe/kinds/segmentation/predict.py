"""Predictions of masks: class probabilities of every pixel, and counts of pixels as rows."""

from __future__ import annotations

from functools import partial
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mlpipe.data.sources.targets import mask_files
from mlpipe.data.task import IGNORED, Task, axes_of
from mlpipe.kinds.segmentation.learn import counted
from mlpipe.predicting import output_tensors, pictures
from mlpipe.predicting.batches import Batch
from mlpipe.predicting.in_hand import InHand, Shown
from mlpipe.predicting.kind import no_places as places
from mlpipe.predicting.new_samples import NewSamples
from mlpipe.predicting.pictures import Drawing, Floats, Seen
from mlpipe.predicting.rows import mean_of_classes as mean
from mlpipe.runs import maps
from mlpipe.runs.sinks import Predicted
from mlpipe.runs.sinks.sample_files import as_npy

__all__ = [
    "NEW", "NOT_EXPORTED", "NOT_IN_HAND", "SCORE", "TABLE", "TENSORS",
    "kept", "mean", "measured", "places", "shown", "write_new",
]  # fmt: skip

NOT_IN_HAND = ""
NOT_EXPORTED = ""
TENSORS = output_tensors.Maps(output_tensors.probabilities)
TABLE = None
NEW = "masks"


def kept(outputs: Tensor, batch: Batch, loss: nn.Module | None) -> Predicted:
    """Return counts of pixels, and probabilities in 255ths."""
    chances = outputs.softmax(1).cpu().numpy()
    target = batch.target
    # If no sample has a mask, the targets are unknown shares of classes.
    true = target.cpu().numpy() if target is not None and target.dtype == torch.uint8 else None
    counts = [
        maps.counts(mask, None if true is None else true[place], chances.shape[1])
        for place, mask in enumerate(chances.argmax(1))
    ]
    quantised = np.stack([maps.quantised(chance) for chance in chances])
    return Predicted(
        batch.ids,
        np.stack([prediction for prediction, _ in counts]),
        np.stack([truth for _, truth in counts]),
        quantised,
        true,
    )


def measured(outputs: Tensor, target: Tensor, loss: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
    """Return counts of pixels."""
    target = target.long()
    return *counted(outputs.argmax(1), target, outputs.shape[1]), loss(outputs, target)


def score(outputs: Tensor, classes: Tensor) -> Tensor:
    """Return the mean logit of the class over the pixels predicted as that class, or over all pixels if there are none.

    From Vinogradova, Dibrov & Myers 2020 (Seg-Grad-CAM).
    """
    own = outputs[torch.arange(len(outputs), device=outputs.device), classes].flatten(1)
    inside = (outputs.detach().argmax(1).flatten(1) == classes[:, None]).float()
    inside = torch.where(inside.sum(1, keepdim=True) > 0, inside, torch.ones_like(inside))
    return (own * inside).sum(1) / inside.sum(1)


SCORE = score


def write_new(new: NewSamples) -> dict[str, Any]:
    """Write a mask for each sample, with the values of the task's masks."""
    return pictures.write(new, _drawing(new.pivot))


def shown(new: InHand) -> Shown:
    """Return masks in the size of each sample, with the values of the task's masks."""
    return pictures.shown(new, _drawing(new.pivot))


def _drawing(pivot: Task) -> Drawing:
    values = _values_of(pivot)
    is_image = axes_of(pivot) == 2
    columns = ["confidence", *(f"share({name})" for name in values.names), "unseen"]
    encode = partial(_png if is_image else _npy, values)
    ending = ".png" if is_image else ".npy"
    return Drawing(
        "mask",
        "mask",
        columns,
        ending,
        _probabilities,
        partial(_mask_and_shares, values),
        encode,
        meant=_softmax,
        plain=partial(mask_files.pixel_values, values=values),
    )


def _values_of(pivot: Task) -> mask_files.Values:
    """Return which value stands for which class in the masks of a task; class numbers if it has no files."""
    source = (pivot.bases or (pivot,))[0].source
    if "masks" in source:
        return mask_files.stored_values(source["masks"])
    return mask_files.Values(pivot.classes, tuple(range(len(pivot.classes))), None)


def _probabilities(predictions: maps.Maps, task: str, split: str, sample: str) -> Floats:
    return np.ascontiguousarray(np.moveaxis(predictions.chances(task, split, sample).astype(np.float32) / 255, 0, -1))


def _softmax(logits: Floats) -> Floats:
    """Return the class probabilities of every place, shape (*spatial, classes)."""
    exps = np.exp(logits - logits.max(axis=0))
    return np.ascontiguousarray(np.moveaxis(exps / exps.sum(axis=0), 0, -1), np.float32)


def _mask_and_shares(values: mask_files.Values, mean: Floats, mask: Seen) -> tuple[npt.NDArray[Any], dict[str, Any]]:
    """Return class numbers, and the share of the sample that each class has."""
    chosen = mean.argmax(axis=-1).astype(np.uint8)
    counts = np.bincount(chosen[mask], minlength=len(values.names)) / mask.sum()
    chosen[~mask] = IGNORED
    confidence = round(float(mean.max(axis=-1)[mask].mean()), 6)
    shares = {f"share({name})": round(float(share), 6) for name, share in zip(values.names, counts, strict=True)}
    return chosen, {"confidence": confidence, **shares, "unseen": round(1 - float(mask.mean()), 6)}


def _png(values: mask_files.Values, chosen: npt.NDArray[np.uint8]) -> bytes:
    out = BytesIO()
    mask_files.encoded(chosen, values).save(out, format="PNG", optimize=True)
    return out.getvalue()


def _npy(values: mask_files.Values, chosen: npt.NDArray[np.uint8]) -> bytes:
    return as_npy(mask_files.pixel_values(chosen, values))
