"""Predictions of samples in memory, which are returned to the caller: nothing is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from mlpipe.data.task import Task
from mlpipe.post.ensembling.new_rows import NewRows
from mlpipe.predicting.new_samples import Used

Cells = dict[str, Any]
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class InHand:
    """The predictions of models for samples in memory.

    Attributes:
        pivot: The task that the models were trained on.
        models: The models.
        rows: Their rows, in the order of the samples.
        maps: For dense kinds each model's map of each sample, by its record's id, shape (outputs, *spatial).
        sizes: The spatial shape of each sample as it was given.
        deploy_prior: The prevalence of the samples; `estimate`: estimated from them; None: nothing is moved.
        only_values: Whether only values are returned, without decisions; else only cells.
    """

    pivot: Task
    models: Sequence[Used]
    rows: NewRows
    maps: Mapping[str, Sequence[Array]]
    sizes: Sequence[tuple[int, ...]]
    deploy_prior: str | list[float] | None
    only_values: bool


@dataclass(frozen=True)
class Shown:
    """Predictions to return, in the order of the samples.

    Attributes:
        cells: For each sample the cells of its table row, of several rows (boxes) or of none.
        values: For each sample its calibrated probabilities or numbers, shape (outputs,) or (*spatial, outputs), or its boxes,
            shape (k, 6).
        calibrated: Calibrated logits of rows, shape (n, outputs), from which other decisions can be made; None: there are none.
    """

    cells: Sequence[Sequence[Cells]]
    values: Sequence[Array]
    calibrated: Array | None = None
