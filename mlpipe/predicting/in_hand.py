"""Predictions of samples that are at hand, as they are given back to whoever asked: nothing is written."""

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
    """What models give for samples at hand.

    Attributes:
        pivot: The task that the models were trained on.
        models: The models.
        rows: Their rows, in the order of the samples.
        maps: Of dense kinds what each gives for every place of each sample, by its record's id, shape (outputs, *spatial).
        sizes: The spatial shape of each sample as it was given.
        deploy_prior: The prevalence where they are from; `estimate`: by themselves; None: nothing is moved.
        only_values: Whether values alone are asked for, and nothing is decided; else cells alone.
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
    """Predictions as a person has them, in the order of the samples.

    Attributes:
        cells: For each sample the cells of a row of a table, or of several (boxes) or none.
        values: For each sample its calibrated probabilities or numbers, shape (outputs,) or (*spatial, outputs), or its boxes,
            shape (k, 6).
        calibrated: Calibrated logits of rows, shape (n, outputs), of which something else can be decided; None: there are none.
    """

    cells: Sequence[Sequence[Cells]]
    values: Sequence[Array]
    calibrated: Array | None = None
