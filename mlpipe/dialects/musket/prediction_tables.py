"""Tables of predicted and true values of an experiment, for `dumpPredictionsToCSV`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe import files
from mlpipe.dialects.musket.files import Trained, predicted, together
from mlpipe.runs import records

FOLDER = "predictions"
Array = npt.NDArray[Any]


def write(folder: Path, trained: Trained) -> None:
    """Write `validationF.S-gt.csv` and `-pt.csv` for each fold and stage, and `holdout-FOLDS.S` for all folds together.

    Each has a row per item and a column per output: for classes 1 for the true (`gt`) or the most probable one (`pt`) and 0
    for others, for labels 1 from probability one half on, and plain numbers. Unknown targets are empty.

    Args:
        folder: The experiment's folder.
        trained: The cross-validation.
    """
    stage_sets = [
        records.kept_stages(trained.project.model_dir(fold_record.pivot, fold_record.id))
        for fold_record in trained.found
    ]
    stages: list[int | None] = [*sorted(set.intersection(*map(set, stage_sets)))]
    for stage in stages or [None]:
        number = stage or 0
        for record in trained.found:
            _write_pair(folder, trained, [(record, stage)], "val", f"validation{record.fold}.{number}")
        folds = "_".join(str(record.fold) for record in trained.found)
        _write_pair(
            folder,
            trained,
            [(fold_record, stage) for fold_record in trained.found],
            "test",
            f"holdout-{folds}.{number}",
        )


def _write_pair(folder: Path, trained: Trained, members: list[Any], split: str, name: str) -> None:
    """Write both tables for the mean prediction of stages of several records, unless one of them has no predictions."""
    mean, first = together(trained, members, split), predicted(trained, members[0][0], split, members[0][1])
    if mean is None or first is None or not len(first.sample_ids):
        return
    record = members[0][0]
    tables = decided(*mean, record.kind)
    columns = list(record.classes) if len(record.classes) == tables[0].shape[1] else range(tables[0].shape[1])
    for kind, table in zip(("gt", "pt"), tables, strict=True):
        rows = [
            {"id": sample_id.partition(":")[2] or sample_id}
            | {str(column): "" if np.isnan(value) else f"{value:g}" for column, value in zip(columns, row, strict=True)}
            for sample_id, row in zip(first.sample_ids, table, strict=True)
        ]
        files.write_text(folder / FOLDER / f"{name}-{kind}.csv", files.csv_text(rows))


def decided(outputs: Array, targets: Array, kind: str) -> tuple[Array, Array]:
    """Return true and predicted values, shape (n, outputs) each.

    Args:
        outputs: Logits, or predicted numbers.
        targets: Class numbers (n,), or values (n, outputs).
        kind: The task's kind.
    """
    if targets.ndim == 1 and outputs.shape[1] > 1:
        one_hot = np.eye(outputs.shape[1])
        return one_hot[targets.astype(np.int64)], one_hot[outputs.argmax(axis=1)]
    true = np.asarray(targets, np.float64).reshape(outputs.shape)
    return true, (outputs > 0).astype(np.float64) if kind == "multilabel" else np.asarray(outputs, np.float64)
