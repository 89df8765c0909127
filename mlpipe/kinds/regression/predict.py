"""Predictions of numbers: one row per sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mlpipe.post.ensembling.member_rows import Array
from mlpipe.predicting import output_tensors, tables
from mlpipe.predicting.in_hand import InHand, Shown
from mlpipe.predicting.kind import no_places as places
from mlpipe.predicting.new_samples import NewSamples
from mlpipe.predicting.rows import kept as kept
from mlpipe.predicting.rows import mean_of_numbers as mean
from mlpipe.predicting.rows import measured as measured
from mlpipe.predicting.rows import score_of_output

__all__ = [
    "NEW", "NOT_EXPORTED", "NOT_IN_HAND", "SCORE", "TABLE", "TENSORS",
    "kept", "mean", "measured", "places", "shown", "write_new",
]  # fmt: skip

NOT_IN_HAND = ""
NOT_EXPORTED = ""
TENSORS = output_tensors.Numbers()
NEW = "numbers"
SCORE = score_of_output


def shown(new: InHand) -> Shown:
    """Return one row per sample."""
    return tables.shown(new, TABLE)


def write_new(new: NewSamples) -> dict[str, Any]:
    """Write a table of numbers and their intervals."""
    return tables.write(new, TABLE)


def _columns(classes: Sequence[str], values: Array, decided: Mapping[str, Any]) -> list[tables.Cells]:
    halves, table, columns = decided.get("halfwidths", {}), [], tables.number_columns(classes)
    for numbers in values.tolist():
        cells: tables.Cells = {}
        for name, value, (column, low, high) in zip(classes, numbers, columns, strict=True):
            cells[column] = value
            if halves.get(name) is not None:
                cells |= {low: value - halves[name], high: value + halves[name]}
        table.append(cells)
    return table


TABLE = tables.Table(_columns, np.asarray, mixing="logits")
