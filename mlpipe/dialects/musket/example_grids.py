"""Grids of validation images with their targets and predictions, one image file per epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
import numpy.typing as npt

from mlpipe import stored
from mlpipe.errors import ProjectError, first_line, problem
from mlpipe.post.measures import mask_metrics
from mlpipe.reports import gallery
from mlpipe.reports.sections.masks import coloured
from mlpipe.runs import maps
from mlpipe.runs.records import ModelRecord

_MOST_LETTERS = 15
# For masks: two images per row, each with its two masks.
_COLUMNS = 6
_FIX = "delete it; its pictures are then not drawn"


class _Masks(TypedDict):
    """Masks as written by `mlpipe.runs.maps.as_text`."""

    shape: list[int]
    zlib: str


class _Entry(TypedDict):
    """Predictions after one epoch, see `mlpipe.learn.callbacks.examples`."""

    epoch: int
    stage: int
    rows: list[int]
    outputs: NotRequired[list[list[Any]]]
    masks: NotRequired[_Masks]


def draw(
    folder: Path,
    record: ModelRecord,
    file: Path,
    images: Callable[[list[int]], tuple[npt.NDArray[Any], npt.NDArray[Any]]],
) -> None:
    """Write `STAGE/FOLD/epoch_E.jpg`, with epochs counted from 0 in their stage and `true > predicted` under each image.

    For masks the true and the predicted mask are drawn beside each image, the latter with its Dice coefficient.

    Args:
        folder: The output folder.
        record: The fold's record.
        file: Its `examples.json`, see `mlpipe.learn.callbacks.examples`.
        images: Returns pixels (n, height, width, channels), 8 bit, and targets for rows of the task; for masks, class
            numbers (n, height, width).

    Raises:
        ProjectError: When the file is damaged.
    """
    entries = stored.read(file, list[_Entry], _FIX)
    firsts: dict[int, int] = {}
    for entry in entries:
        first = firsts.setdefault(entry["stage"], entry["epoch"])
        place = folder / str(entry["stage"]) / str(record.fold) / f"epoch_{entry['epoch'] - first}.jpg"
        try:
            pictures, captions = _grid(entry, record, *images(entry["rows"]))
        except (ValueError, LookupError) as error:
            wrong = f"does not fit its images ({first_line(error)})"
            raise ProjectError(problem(str(file), wrong, fix=_FIX)) from error
        place.parent.mkdir(parents=True, exist_ok=True)
        wide = {"columns": _COLUMNS} if "masks" in entry else {}
        gallery.grid(pictures, captions, place, **wide)


def _grid(
    entry: _Entry, record: ModelRecord, pixels: npt.NDArray[Any], targets: npt.NDArray[Any]
) -> tuple[list[npt.NDArray[Any]], list[str]]:
    """Return the pictures of an epoch and their captions."""
    if "masks" in entry:
        return _masks(pixels, targets, maps.of_text(entry["masks"]), len(record.classes))
    outputs = np.asarray(entry["outputs"], np.float64)
    if outputs.shape != (len(pixels), len(record.classes)):
        raise ValueError(f"outputs of shape {list(outputs.shape)}")
    true = names_of(targets, record.classes, record.kind)
    predictions = names_of(_decisions(outputs, record.kind), record.classes, record.kind)
    return list(pixels), [f"{truth} > {other}" for truth, other in zip(true, predictions, strict=True)]


def _masks(
    pixels: npt.NDArray[Any], true: npt.NDArray[Any], predictions: npt.NDArray[Any], classes: int
) -> tuple[list[npt.NDArray[Any]], list[str]]:
    """Return each image with its true and its predicted mask, and the captions."""
    counts = [maps.counts(mask, true_mask, classes) for mask, true_mask in zip(predictions, true, strict=True)]
    dice = mask_metrics.of_images(
        np.stack([output_counts for output_counts, _ in counts]), np.stack([true_counts for _, true_counts in counts])
    )
    pictures: list[npt.NDArray[Any]] = []
    captions: list[str] = []
    for number, (image, target, mask) in enumerate(zip(pixels, true, predictions, strict=True)):
        pictures += [image, coloured(target), coloured(mask)]
        captions += [f"image {number}", "true", f"predicted {dice[number]:.3f}"]
    return pictures, captions


def names_of(targets: npt.NDArray[Any], classes: Sequence[str], kind: str) -> list[str]:
    """Return a short text with the class, labels or numbers of each image.

    Args:
        targets: As in `mlpipe.data.task.Samples.targets`.
        classes: Names of the outputs.
        kind: The task's kind.
    """
    if kind == "classification":
        texts = [classes[int(number)] if number >= 0 else "?" for number in targets]
    elif kind == "multilabel":
        labels = [[name for name, value in zip(classes, row, strict=True) if value > 0.5] for row in targets]
        texts = ["+".join(words) or "-" for words in labels]
    else:
        texts = [" ".join(f"{value:.3g}" for value in row) for row in targets]
    return [text if len(text) <= _MOST_LETTERS else text[: _MOST_LETTERS - 1] + "…" for text in texts]


def _decisions(outputs: npt.NDArray[np.float64], kind: str) -> npt.NDArray[Any]:
    if kind == "classification":
        return np.asarray(outputs.argmax(axis=1))
    return (outputs > 0).astype(np.float64) if kind == "multilabel" else outputs
