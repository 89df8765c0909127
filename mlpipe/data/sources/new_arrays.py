"""Unlabelled arrays for prediction, outside any task: a NumPy or HDF5 file, or a folder of such files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mlpipe.data import kind, task, walking
from mlpipe.data.sources.error_lists import raise_some
from mlpipe.data.sources.final_task import finished
from mlpipe.data.sources.listings import array_files
from mlpipe.data.sources.listings.array_layout import Form, pixel_digest
from mlpipe.data.task import Row, Task
from mlpipe.errors import counted, problem

_PART = "test"


def new_arrays(*, root: str, like: Task) -> Task:
    """A task of unlabelled arrays with the classes of another task of arrays.

    Args:
        root: The .npy, .npz or HDF5 file, or a folder of such files.
        like: The task that the arrays are predicted for; says where channels are.

    Raises:
        DataError: When there is no array, one cannot be read, has other channels, or values that are NaN or infinite.
    """
    base, form = Path(root).expanduser().absolute(), Form.of((like.bases or (like,))[0].source)
    target = kind.of(like.kind).unknown(len(like.classes))
    rows, wrong = list[Row](), list[str]()
    for name, value in array_files.arrays_below(base, "mode.source", form):
        if value.shape[-1] != like.channels:
            has = f"has {counted(value.shape[-1], 'channel')}, the samples of {like.name} have {like.channels}"
            wrong.append(problem(name, has, fix=f"give arrays with as many (task.layout is {form.layout})"))
        if not np.isfinite(value).all():
            wrong.append(problem(name, "has values that are no numbers (NaN or infinite)", fix="replace them"))
        rows.append(Row(f"{_PART}/{name}", "unlabelled", target, pixel_digest(value)))
    raise_some(wrong)
    made = task.make(
        f"new-{base.stem if base.is_file() else base.name}",
        like.classes,
        rows,
        channels=like.channels,
        kind=like.kind,
        dtype=like.dtype,
        notes=walking.notes([base], array_files.ENDS) if base.is_dir() else [],
        source={"type": "samples", "layout": form.layout, "axes": form.axes, _PART: str(base)},
    )
    return finished(made, allow_overlap=True)
