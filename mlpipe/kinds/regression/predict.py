"""Predict numbers: a row for each sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mlpipe.post.ensembling.member_rows import Array
from mlpipe.predicting import row_tensors, tables
from mlpipe.predicting.kind import no_places as places
from mlpipe.predicting.new_samples import NewSamples
from mlpipe.predicting.rows import kept as kept
from mlpipe.predicting.rows import mean_of_numbers as mean
from mlpipe.predicting.rows import measured as measured
from mlpipe.predicting.rows import score_of_output

__all__ = ["NEW", "ROWS_ARE_LOSSES", "SCORE", "TABLE", "kept", "mean", "measured", "places", "write_new"]

ROWS_ARE_LOSSES = False
NEW = "probabilities"
SCORE = score_of_output


def write_new(new: NewSamples) -> dict[str, Any]:
    """Numbers and their intervals, in a table."""
    return tables.write(new, TABLE)


def _columns(classes: Sequence[str], values: Array, decided: Mapping[str, Any]) -> list[tables.Cells]:
    halves, table = decided.get("halfwidths", {}), []
    for numbers in values.tolist():
        cells: tables.Cells = {}
        for name, value in zip(classes, numbers, strict=True):
            cells[name] = value
            if halves.get(name) is not None:
                cells |= {f"{name} low": value - halves[name], f"{name} high": value + halves[name]}
        table.append(cells)
    return table


TABLE = tables.Table(_columns, np.asarray, row_tensors.Numbers(), mixing="logits")
