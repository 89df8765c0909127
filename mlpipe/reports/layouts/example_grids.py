"""Pictures of some validation images with what they are and what they were predicted to be, one for each epoch."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe.reports import gallery
from mlpipe.runs.records import ModelRecord

_MOST_LETTERS = 15


def draw(
    folder: Path,
    record: ModelRecord,
    file: Path,
    images: Callable[[list[int]], tuple[npt.NDArray[Any], npt.NDArray[Any]]],
) -> None:
    """Write `STAGE/FOLD/epoch_E.jpg`, epochs counted from 0 in their stage; under each image `true > predicted`.

    Args:
        folder: Where they go.
        record: The fold's record.
        file: Its `examples.json`, see `mlpipe.learn.examples`.
        images: Gives pixels (n, height, width, channels), 8 bit, and targets of some rows of the task.
    """
    entries: list[dict[str, Any]] = json.loads(file.read_text("utf-8"))
    firsts: dict[int, int] = {}
    for entry in entries:
        first = firsts.setdefault(entry["stage"], entry["epoch"])
        pixels, targets = images(entry["rows"])
        outputs = np.asarray(entry["outputs"], np.float64)
        true = names_of(targets, record.classes, record.kind)
        said = names_of(_decided(outputs, record.kind), record.classes, record.kind)
        captions = [f"{one} > {other}" for one, other in zip(true, said, strict=True)]
        place = folder / str(entry["stage"]) / str(record.fold)
        place.mkdir(parents=True, exist_ok=True)
        gallery.grid(list(pixels), captions, place / f"epoch_{entry['epoch'] - first}.jpg")


def names_of(targets: npt.NDArray[Any], classes: Sequence[str], kind: str) -> list[str]:
    """The class, labels or numbers of each image, in few letters.

    Args:
        targets: As `mlpipe.data.task.Samples.targets`.
        classes: The names of the outputs.
        kind: What is predicted.
    """
    if kind == "classification":
        found = [classes[int(one)] if one >= 0 else "?" for one in targets]
    elif kind == "multilabel":
        labels = [[name for name, value in zip(classes, row, strict=True) if value > 0.5] for row in targets]
        found = ["+".join(one) or "-" for one in labels]
    else:
        found = [" ".join(f"{value:.3g}" for value in row) for row in targets]
    return [text if len(text) <= _MOST_LETTERS else text[: _MOST_LETTERS - 1] + "…" for text in found]


def _decided(outputs: npt.NDArray[np.float64], kind: str) -> npt.NDArray[Any]:
    if kind == "classification":
        return np.asarray(outputs.argmax(axis=1))
    return (outputs > 0).astype(np.float64) if kind == "multilabel" else outputs
