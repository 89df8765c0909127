"""The ELPV data set: 2,624 images of solar cells from the package `elpv-dataset`, as five different tasks."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated, Literal

from mlpipe import limits
from mlpipe.data import task
from mlpipe.data.sources.listings import file_headers
from mlpipe.data.sources.source import finished
from mlpipe.data.task import Row, Task
from mlpipe.errors import DataError, not_installed, problem

_LEVELS = ("none", "possible", "likely", "certain")
_DEFECT = 0.5


def elpv(
    *,
    variant: Literal["binary", "level", "type", "multilabel", "regression"] = "binary",
    max_unreadable: Annotated[int, ">= 0"] = 0,
    data_dir: str | None = None,
) -> Task:
    """Electroluminescence images of solar cells, labelled with the probability of a defect (Buerhop-Lutz et al. 2018).

    The images come with the package (300 x 300 pixels, grey, CC BY-NC-SA 4.0).

    Args:
        variant: The target: `binary` (defect probability of at least 0.5), `level` (the four probabilities as classes),
            `type` (mono- or polycrystalline), `multilabel` (any sign of a defect, a defect, polycrystalline) or
            `regression` (the probability itself).
        max_unreadable: As for `folder`.
        data_dir: As for `folder`.

    Raises:
        DataError: If the package is not installed or damaged.
    """
    spec = importlib.util.find_spec("elpv_dataset")
    if spec is None or spec.origin is None:
        raise DataError(not_installed("task=elpv", "elpv_dataset"))
    base = Path(spec.origin).parent / "data"
    labels = base / "labels.csv"
    try:
        lines = [line.split() for line in limits.text(labels).splitlines() if line.strip()]
        cells = [(name, float(probability), kind) for name, probability, kind in lines]
    except (OSError, ValueError) as error:
        raise DataError(problem(str(labels), f"cannot be read ({error})", fix="install elpv-dataset again")) from error
    kind, classes = _kind_and_classes(variant)
    looks = file_headers.look([base / name for name, _, _ in cells], file_headers.memory_file(data_dir, base))
    rows = [
        Row(name, "train", _target(variant, probability, crystal), look.digest)
        for (name, probability, crystal), look in zip(cells, looks, strict=True)
    ]
    source = {"type": "elpv", "root": str(base), "variant": variant}
    name = "elpv" if variant == "binary" else f"elpv_{variant}"
    new_task = task.make(name, classes, rows, kind=kind, channels=1, source=source)
    return finished(new_task, allow_overlap=True)


def _kind_and_classes(variant: str) -> tuple[str, tuple[str, ...]]:
    if variant == "regression":
        return "regression", ("defect_probability",)
    if variant == "multilabel":
        return "multilabel", ("suspect", "defect", "poly")
    if variant == "level":
        return "classification", _LEVELS
    return "classification", ("mono", "poly") if variant == "type" else ("functional", "defective")


def _target(variant: str, probability: float, crystal: str) -> int | tuple[float, ...]:
    if variant == "regression":
        return (probability,)
    if variant == "multilabel":
        return (float(probability > 0), float(probability >= _DEFECT), float(crystal == "poly"))
    if variant == "level":
        return round(probability * 3)
    return int(crystal == "poly") if variant == "type" else int(probability >= _DEFECT)
