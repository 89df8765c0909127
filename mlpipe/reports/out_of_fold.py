"""One table of all out-of-fold predictions of a task: each image by the models that did not learn from it.

These images are the test images of a nested fold, and the validation images of a plain one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mlpipe import files, kinds
from mlpipe.lazy_imports import LazyModule
from mlpipe.post import kind as post_kind
from mlpipe.post import metrics
from mlpipe.post.ensembling import repeats
from mlpipe.runs import predictions, records
from mlpipe.runs.predictions import Predictions
from mlpipe.runs.project import Project
from mlpipe.runs.records import ModelRecord

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq
else:
    pa, pq = LazyModule("pyarrow"), LazyModule("pyarrow.parquet")

Row = dict[str, Any]


def rows(project: Project, task: str) -> list[Row]:
    """Return one row per recipe, repeat and image, of the newest record of each fold.

    The columns are `task`, `recipe`, `arch`, `record`, `fold`, `repeat` and `image`; `target`, the name of the class, or
    `target NAME` for each label or number (empty where it is unknown); for classes `prediction`, the most probable one, by
    calibrated probabilities if there are some; and `raw ...` from the network and `calibrated
    ...` after `mml post` (empty before): `p(NAME)`, the probability of each class or label, or the number NAME. Masks, images
    and solutions have the metrics of each image instead.

    Args:
        project: The project.
        task: The task.

    Raises:
        ProjectError: When a record or predictions are damaged.
    """
    groups: dict[str, list[ModelRecord]] = defaultdict(list)
    for record in records.load_all(project, task):
        groups[record.recipe].append(record)
    return [row for group in groups.values() for row in _recipe_rows(project, records.newest_folds(group))]


def write(project: Project, task: str) -> tuple[list[Path], int]:
    """Durably write the table of a task as CSV and as Parquet; write nothing if there are no rows.

    Args:
        project: The project.
        task: The task.

    Returns:
        The files, and the number of their rows.
    """
    table = rows(project, task)
    if not table:
        return [], 0
    columns = list(dict.fromkeys(name for row in table for name in row))
    base = project.reports_dir() / "out_of_fold" / f"{files.safe_name(task)}.csv"
    files.write_text(base, files.csv_text(table, columns))
    arrays = {name: pa.array([row.get(name) for row in table]) for name in columns}
    other = base.with_suffix(".parquet")
    with files.durable(other) as temporary:
        pq.write_table(pa.table(arrays), temporary)
    return [base, other], len(table)


def _recipe_rows(project: Project, folds: Sequence[ModelRecord]) -> Iterator[Row]:
    held_out = [(record, _held_out(project, record)) for record in folds]
    pairs = [(record, outputs) for record, outputs in held_out if outputs is not None]
    numbers = repeats.repeat_numbers([outputs.sample_ids for _, outputs in pairs])
    for (record, fold_rows), repeat in zip(pairs, numbers, strict=True):
        about = {
            "task": record.pivot,
            "recipe": record.recipe,
            "arch": record.arch,
            "record": record.id,
            "fold": record.fold,
            "repeat": repeat,
        }
        for name, cells in zip(fold_rows.sample_ids, _cells(fold_rows, record.kind, record.classes), strict=True):
            yield {**about, "image": name, **cells}


def _held_out(project: Project, record: ModelRecord) -> Predictions | None:
    """Return a record's predictions of images that it did not learn from; None if there are none."""
    path = project.predictions_file(record.pivot, record.id)
    if not path.is_file():
        return None
    outputs = predictions.load(path, record.task, record.held_out)
    return outputs if len(outputs) else None


def _cells(outputs: Predictions, kind: str, names: Sequence[str]) -> list[Row]:
    """Return the targets and predictions of each row."""
    how = post_kind.of(kind).ENSEMBLING
    if how is None or not how.MIXES_COLUMNS:
        return [_image_metrics(outputs, kind, row) for row in range(len(outputs))]
    raw = how.averaged(outputs.logits.astype(np.float64))
    calibrated = None if outputs.calibrated is None else how.averaged(outputs.calibrated.astype(np.float64))
    labels = [f"p({name})" if kinds.of(kind).has_probabilities else name for name in names]
    table = []
    for row, target in enumerate(outputs.targets):
        cells = _targets(target, kind, names)
        cells |= {f"raw {name}": value for name, value in zip(labels, raw[row].tolist(), strict=True)}
        after = [None] * len(labels) if calibrated is None else calibrated[row].tolist()
        if kinds.of(kind).has_classes:
            cells["prediction"] = names[int((raw if calibrated is None else calibrated)[row].argmax())]
        table.append(cells | {f"calibrated {name}": value for name, value in zip(labels, after, strict=True)})
    return table


def _targets(target: Any, kind: str, names: Sequence[str]) -> Row:
    values: npt.NDArray[Any] = np.atleast_1d(target)
    if np.ndim(target) == 0:
        return {"target": kinds.of(kind).words.told(target, names)}
    return {
        f"target {name}": None if np.isnan(value) else float(value) for name, value in zip(names, values, strict=True)
    }


def _image_metrics(outputs: Predictions, kind: str, row: int) -> Row:
    """Return the metrics of a single image, whose row holds sums over its pixels; empty where it has none."""
    part = slice(row, row + 1)
    values = metrics.compute(post_kind.of(kind).FINAL, outputs.logits[part], outputs.targets[part], kind)
    return {f"raw {name}": None if value is None or not np.isfinite(value) else value for name, value in values.items()}
