"""Predictions as a project stores them: rows in Parquet, and maps of samples beside them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe import kinds
from mlpipe.runs import maps, predictions
from mlpipe.runs.sinks import Predicted, Sink

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class ProjectSink:
    """Add predictions of one task and split to the files of a record or an ensemble.

    Attributes:
        rows: The writer of a row for each sample.
        maps: The writer of maps; None for kinds without maps.
        task: The task's name in the predictions.
        split: `val`, `test` or `unlabelled`.
        fold: The fold's number; -1 for an ensemble.
    """

    rows: predictions.PredictionsWriter
    maps: maps.MapsWriter | None
    task: str
    split: str
    fold: int

    def add(self, predicted: Predicted) -> None:
        """Write rows, and maps of samples that have them.

        Args:
            predicted: The predictions, with targets.
        """
        assert predicted.targets is not None
        if predicted.arrays is not None:
            self._add_maps(predicted, predicted.arrays, predicted.targets)
        self.rows.add(self.task, self.split, self.fold, predicted.ids, predicted.targets, predicted.outputs)

    def _add_maps(self, predicted: Predicted, arrays: Array, targets: Array) -> None:
        assert self.maps is not None
        for place, sample in enumerate(predicted.ids):
            is_known = predicted.true is not None and not np.isnan(targets[place]).all()
            true = predicted.true[place] if predicted.true is not None and is_known else None
            self.maps.add(self.task, self.split, sample, arrays[place], true)


@dataclass(frozen=True)
class ProjectFiles:
    """The open files of a record or an ensemble.

    Attributes:
        rows: The writer of rows.
        maps: The writer of maps; None for kinds without maps.
    """

    rows: predictions.PredictionsWriter
    maps: maps.MapsWriter | None

    def part(self, task: str, split: str, fold: int) -> Sink:
        """Return a sink for one task and split."""
        return ProjectSink(self.rows, self.maps, task, split, fold)


@contextmanager
def opened(path: Path, replacing: Collection[tuple[str, str]] = (), *, kind: str) -> Iterator[ProjectFiles]:
    """Open files that appear under their names only once everything is written.

    Args:
        path: The Parquet file; maps are written beside it. Existing rows and maps are kept.
        replacing: Pairs of (task, split) whose old rows and maps are dropped.
        kind: What is predicted.

    Raises:
        ProjectError: When a file exists and is damaged.
    """
    archive = maps.writer(path.with_suffix(maps.SUFFIX), replacing) if kinds.of(kind).is_dense else nullcontext()
    with predictions.writer(path, replacing, kind) as rows, archive as opened_maps:
        yield ProjectFiles(rows, opened_maps)
