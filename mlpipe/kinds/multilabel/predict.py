"""Predictions of labels: one row per sample."""

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
from mlpipe.predicting.rows import mean_of_labels as mean
from mlpipe.predicting.rows import measured as measured
from mlpipe.predicting.rows import score_of_output

__all__ = [
    "NEW", "NOT_EXPORTED", "NOT_IN_HAND", "SCORE", "TABLE", "TENSORS",
    "kept", "mean", "measured", "places", "shown", "write_new",
]  # fmt: skip

NOT_IN_HAND = ""
NOT_EXPORTED = ""
TENSORS = output_tensors.Labels()
NEW = "probabilities"
SCORE = score_of_output
_DECIDED_AT = 0.5


def shown(new: InHand) -> Shown:
    """Return one row per sample."""
    return tables.shown(new, TABLE)


def write_new(new: NewSamples) -> dict[str, Any]:
    """Write a table of probabilities and of the labels that each sample has."""
    return tables.write(new, TABLE)


def _columns(classes: Sequence[str], values: Array, decided: Mapping[str, Any]) -> list[tables.Cells]:
    cuts, table = decided.get("thresholds", {}).get("cuts", {}), []
    least = [_DECIDED_AT if cuts.get(name) is None else cuts[name] for name in classes]
    for chance in _probabilities(values):
        holds = [name for name, value, cut in zip(classes, chance, least, strict=True) if value > cut]
        pairs = zip(classes, chance.tolist(), strict=True)
        table.append({"labels": " | ".join(holds), **{f"p({name})": value for name, value in pairs}})
    return table


def _probabilities(values: Array) -> Array:
    """Return the probabilities of the labels."""
    return np.asarray(0.5 * (1 + np.tanh(values / 2)))


TABLE = tables.Table(_columns, _probabilities)
